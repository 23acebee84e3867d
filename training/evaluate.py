"""Measures a running server on a lab's held-out questions, through HTTP with the official client.

    bestofn evaluate --lab arithmetic --best-of 1,2,4,8,16 --prompts 500

For each best_of: ask every question, judge the answer with the lab's gold reward, count tokens and time. For the
largest one also pass@N of its candidates, and the share of the distance between N=1 and pass@N that the selection
closes. A request that fails is counted and reported; its question is left out of that row's numbers.
"""

import asyncio
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from openai import APIConnectionError, APIError, AsyncOpenAI
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from training.estimators import Floats, Interval, bootstrap, mean_interval, share_closed, wilson
from training.labs import lab
from training.labs.arithmetic import Question, gold

MAX_ANSWER_TOKENS = 128


@dataclass(frozen=True)
class Evaluation:
    """What to measure, and where."""

    lab: str
    best_of: tuple[int, ...]
    prompts: int
    base_url: str
    model: str = ""
    api_key: str = ""
    seed: int = 0
    concurrency: int = 8


@dataclass(frozen=True)
class Answer:
    """One request's outcome; `error` is empty where it succeeded. `reward` is nan where nothing was scored."""

    correct: bool
    any_correct: bool
    reward: float
    completion_tokens: int
    latency_s: float
    error: str = ""


@dataclass(frozen=True)
class Row:
    """The numbers of one best_of."""

    best_of: int
    requests: int
    failed: int
    errors: tuple[str, ...]
    accuracy: Interval | None
    reward: Interval | None
    tokens_per_request: float
    latency_p50_s: float
    latency_p95_s: float


@dataclass(frozen=True)
class Report:
    """All rows, and for the largest best_of how much of the possible gain was realised."""

    model: str
    rows: tuple[Row, ...]
    pass_at_largest: Interval | None
    closed: Interval | None

    @property
    def failed(self) -> int:
        return sum(row.failed for row in self.rows)

    def show(self, console: Console | None = None) -> None:
        console = console or Console()
        console.print(_table(self))
        largest = self.rows[-1].best_of
        if self.pass_at_largest:
            console.print(f"pass@{largest}: {self.pass_at_largest}")
        if self.closed:
            closed = self.closed
            console.print(
                f"best-of-{largest} closes {100 * closed.value:.1f} % "
                f"[{100 * closed.low:.1f}, {100 * closed.high:.1f}] of the distance between N=1 and pass@{largest}"
            )
        for row in self.rows:
            if row.failed:
                console.print(f"best_of={row.best_of}: {row.failed} of {row.requests} failed: {'; '.join(row.errors)}")

    def to_json(self) -> str:
        """Strict JSON: a number that does not exist is null."""
        return json.dumps(_finite(asdict(self)), indent=2, allow_nan=False) + "\n"


async def run(evaluation: Evaluation) -> Report:
    """Ask all questions for each best_of. Raises ConnectionError when the server cannot be reached."""
    questions = lab(evaluation.lab).questions(evaluation.prompts, "held_out", seed=evaluation.seed)
    async with AsyncOpenAI(
        base_url=evaluation.base_url, api_key=evaluation.api_key or "none", max_retries=2, timeout=600
    ) as client:
        model = evaluation.model or await _first_model(client)
        answers: dict[int, list[Answer]] = {}
        with Progress() as progress:
            for best_of in evaluation.best_of:
                task = progress.add_task(f"best_of={best_of}", total=len(questions))
                limit = asyncio.Semaphore(evaluation.concurrency)

                async def asked(
                    index: int,
                    question: Question,
                    best_of: int = best_of,
                    limit: asyncio.Semaphore = limit,
                    task: Any = task,
                ) -> Answer:
                    async with limit:
                        answer = await ask(client, model, question, best_of, evaluation.seed + 1000 * index)
                    progress.advance(task)
                    return answer

                answers[best_of] = list(
                    await asyncio.gather(*(asked(index, question) for index, question in enumerate(questions)))
                )
    return summarise(model, answers)


async def ask(client: AsyncOpenAI, model: str, question: Question, best_of: int, seed: int) -> Answer:
    """One chat completion, judged by the gold reward; a failure becomes an Answer with its error."""
    started = time.monotonic()
    try:
        completion = await client.chat.completions.create(
            model=model,
            messages=question.messages,  # type: ignore[arg-type]  # the client wants its own TypedDicts
            seed=seed,
            temperature=1.0,
            max_tokens=MAX_ANSWER_TOKENS,
            extra_body={"best_of": best_of, "rerank": {"return_candidates": True}},
        )
    except APIError as error:
        return Answer(False, False, math.nan, 0, time.monotonic() - started, f"{type(error).__name__}: {error.message}")
    rerank = (completion.model_extra or {}).get("rerank") or {}
    correct = gold(question, completion.choices[0].message.content or "")
    candidates = [candidate.get("text") or "" for candidate in rerank.get("candidates", ())]
    return Answer(
        correct=correct,
        any_correct=correct or any(gold(question, text) for text in candidates),
        reward=math.nan if rerank.get("reward") is None else float(rerank["reward"]),
        completion_tokens=completion.usage.completion_tokens if completion.usage else 0,
        latency_s=time.monotonic() - started,
    )


def summarise(model: str, answers: dict[int, list[Answer]]) -> Report:
    """Rows for each best_of; the gain compares the questions that both the smallest and the largest answered."""
    sizes = sorted(answers)
    rows = tuple(_row(best_of, answers[best_of]) for best_of in sizes)
    both = [
        (float(single.correct), float(best.correct), float(best.any_correct))
        for single, best in zip(answers[sizes[0]], answers[sizes[-1]], strict=True)
        if not single.error and not best.error
    ]
    if sizes[0] != 1 or len(sizes) == 1 or not both:
        return Report(model, rows, None, None)
    outcomes = np.array(both)  # [questions, (N=1, best-of-N, pass@N)]

    def closed(sample: Floats) -> float:
        single, selected, oracle = sample.mean(axis=0)
        return share_closed(float(single), float(selected), float(oracle))

    oracle = wilson(int(outcomes[:, 2].sum()), len(outcomes))
    return Report(model, rows, oracle, bootstrap(outcomes, closed))


def _row(best_of: int, answers: Sequence[Answer]) -> Row:
    done = [answer for answer in answers if not answer.error]
    rewards = [answer.reward for answer in done if math.isfinite(answer.reward)]
    latencies = [answer.latency_s for answer in done]
    return Row(
        best_of=best_of,
        requests=len(answers),
        failed=len(answers) - len(done),
        errors=tuple(dict.fromkeys(answer.error for answer in answers if answer.error))[:3],
        accuracy=wilson(sum(answer.correct for answer in done), len(done)) if done else None,
        reward=mean_interval(rewards) if rewards else None,
        tokens_per_request=float(np.mean([answer.completion_tokens for answer in done])) if done else math.nan,
        latency_p50_s=float(np.quantile(latencies, 0.5)) if done else math.nan,
        latency_p95_s=float(np.quantile(latencies, 0.95)) if done else math.nan,
    )


async def _first_model(client: AsyncOpenAI) -> str:
    try:
        models = await client.models.list()
    except APIConnectionError as error:
        raise ConnectionError(f"no server answers at {client.base_url}: {error}") from error
    except APIError as error:
        raise ConnectionError(f"{client.base_url}models: {error}") from error
    if not models.data:
        raise ConnectionError(f"{client.base_url}models lists no model")
    return models.data[0].id


def _table(report: Report) -> Table:
    table = Table(title=f"{report.model}: {report.rows[0].requests} held-out questions for each best_of")
    for column in (
        "best_of",
        "accuracy [95 %]",
        "reward of the answer [95 %]",
        "tokens/request",
        "p50 s",
        "p95 s",
        "failed",
    ):
        table.add_column(column, justify="right")
    for row in report.rows:
        table.add_row(
            str(row.best_of),
            str(row.accuracy or "-"),
            str(row.reward or "-"),
            f"{row.tokens_per_request:.1f}",
            f"{row.latency_p50_s:.2f}",
            f"{row.latency_p95_s:.2f}",
            str(row.failed),
        )
    return table


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
