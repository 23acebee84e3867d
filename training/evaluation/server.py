"""Measures a running server on a lab's held-out prompts, through HTTP with the official client.

    bestofn evaluate --lab arithmetic --best-of 1,2,4,8,16 --prompts 500

For each best_of: ask every prompt, judge the answer with the lab's gold reward, count tokens and time. For the largest
one also the best of its candidates by gold (pass@N where gold is 0 or 1), and the share of the distance between N=1 and
that which the selection closes. A request that fails is counted and reported; its prompt is left out of that row's
numbers.
"""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from openai import APIError, AsyncOpenAI
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from measuring.endpoint import connect, first_model, for_each, told
from measuring.estimators import Floats, Interval, bootstrap, mean_interval, share_closed, wilson
from training.data.records import Conversation
from training.evaluation.report import strict
from training.labs import lab
from training.labs.lab import Lab


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
    lab_options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """One request's outcome."""

    gold: float  # of the answer
    best_gold: float  # the highest among it and all candidates
    reward: float  # nan where nothing was scored
    completion_tokens: int
    latency_s: float
    error: str = ""  # empty where it succeeded


@dataclass(frozen=True)
class Row:
    """The numbers of one best_of."""

    best_of: int
    requests: int
    failed: int
    errors: tuple[str, ...]
    gold: Interval | None  # the accuracy where gold is 0 or 1
    reward: Interval | None
    tokens_per_request: float
    latency_p50_s: float
    latency_p95_s: float


@dataclass(frozen=True)
class Report:
    """All rows, and for the largest best_of how much of the possible gain was realised."""

    model: str
    rows: tuple[Row, ...]
    best_of_largest: Interval | None
    closed: Interval | None

    @property
    def failed(self) -> int:
        return sum(row.failed for row in self.rows)

    def show(self, console: Console | None = None) -> None:
        console = console or Console()
        console.print(_table(self))
        largest = self.rows[-1].best_of
        if self.best_of_largest:
            console.print(f"the best of {largest} by gold: {self.best_of_largest}")
        if self.closed:
            closed = self.closed
            console.print(
                f"best-of-{largest} closes {100 * closed.value:.1f} % "
                f"[{100 * closed.low:.1f}, {100 * closed.high:.1f}] of the distance between N=1 and that"
            )
        for row in self.rows:
            if row.failed:
                console.print(f"best_of={row.best_of}: {row.failed} of {row.requests} failed: {'; '.join(row.errors)}")

    def to_json(self) -> str:
        """Strict JSON: a number that does not exist is null."""
        return json.dumps(strict(asdict(self)), indent=2, allow_nan=False) + "\n"


async def run(evaluation: Evaluation) -> Report:
    """Ask all prompts for each best_of. Raises ConnectionError when the server cannot be reached."""
    world = lab(evaluation.lab, evaluation.lab_options)
    prompts = world.prompts(evaluation.prompts, "held_out", seed=evaluation.seed)
    async with connect(evaluation.base_url, evaluation.api_key) as client:
        model = evaluation.model or await first_model(client)
        answers = {}
        with Progress() as progress:
            for best_of in evaluation.best_of:
                answers[best_of] = await _ask_all(client, model, world, prompts, best_of, evaluation, progress)
    return summarise(model, answers)


async def _ask_all(
    client: AsyncOpenAI,
    model: str,
    world: Lab,
    prompts: Sequence[Conversation],
    best_of: int,
    evaluation: Evaluation,
    progress: Progress,
) -> list[Answer]:
    """An answer to each prompt, in their order."""
    task = progress.add_task(f"best_of={best_of}", total=len(prompts))
    answers: dict[int, Answer] = {}

    async def asked(index: int) -> None:
        answers[index] = await ask(client, model, world, prompts[index], best_of, evaluation.seed + 1000 * index)
        progress.advance(task)

    await for_each(range(len(prompts)), asked, at_once=evaluation.concurrency)
    return [answers[index] for index in range(len(prompts))]


async def ask(client: AsyncOpenAI, model: str, world: Lab, prompt: Conversation, best_of: int, seed: int) -> Answer:
    """One chat completion, judged by the gold reward; a failure becomes an Answer with its error."""
    started = time.monotonic()
    try:
        completion = await client.chat.completions.create(
            model=model,
            messages=prompt,  # type: ignore[arg-type]  # the client wants its own TypedDicts
            seed=seed,
            temperature=1.0,
            max_tokens=world.answer_tokens,
            extra_body={"best_of": best_of, "rerank": {"return_candidates": True}},
        )
    except APIError as error:
        return Answer(math.nan, math.nan, math.nan, 0, time.monotonic() - started, told(error))
    latency_s = time.monotonic() - started
    rerank = (completion.model_extra or {}).get("rerank") or {}
    gold = world.gold(prompt, completion.choices[0].message.content or "")
    candidates = [world.gold(prompt, candidate.get("text") or "") for candidate in rerank.get("candidates", ())]
    return Answer(
        gold=gold,
        best_gold=max([gold, *candidates]),
        reward=math.nan if rerank.get("reward") is None else float(rerank["reward"]),
        completion_tokens=completion.usage.completion_tokens if completion.usage else 0,
        latency_s=latency_s,
    )


def summarise(model: str, answers: dict[int, list[Answer]]) -> Report:
    """Rows for each best_of; the gain compares the prompts that both the smallest and the largest answered."""
    sizes = sorted(answers)
    rows = tuple(_row(best_of, answers[best_of]) for best_of in sizes)
    both = [
        (single.gold, best.gold, best.best_gold)
        for single, best in zip(answers[sizes[0]], answers[sizes[-1]], strict=True)
        if not single.error and not best.error
    ]
    if sizes[0] != 1 or len(sizes) == 1 or not both:
        return Report(model, rows, None, None)
    outcomes = np.array(both)  # [prompts, (N=1, best-of-N, the best of N by gold)]

    def closed(sample: Floats) -> float:
        single, selected, oracle = sample.mean(axis=0)
        return share_closed(float(single), float(selected), float(oracle))

    return Report(model, rows, _mean(outcomes[:, 2].tolist()), bootstrap(outcomes, closed))


def _row(best_of: int, answers: Sequence[Answer]) -> Row:
    done = [answer for answer in answers if not answer.error]
    rewards = [answer.reward for answer in done if math.isfinite(answer.reward)]
    latencies = [answer.latency_s for answer in done]
    return Row(
        best_of=best_of,
        requests=len(answers),
        failed=len(answers) - len(done),
        errors=tuple(dict.fromkeys(answer.error for answer in answers if answer.error))[:3],
        gold=_mean([answer.gold for answer in done]) if done else None,
        reward=mean_interval(rewards) if rewards else None,
        tokens_per_request=float(np.mean([answer.completion_tokens for answer in done])) if done else math.nan,
        latency_p50_s=float(np.quantile(latencies, 0.5)) if done else math.nan,
        latency_p95_s=float(np.quantile(latencies, 0.95)) if done else math.nan,
    )


def _mean(golds: Sequence[float]) -> Interval:
    """Wilson's interval where gold is 0 or 1, the normal one where it is a measure."""
    if set(golds) <= {0.0, 1.0}:
        return wilson(int(sum(golds)), len(golds))
    return mean_interval(golds)


def _table(report: Report) -> Table:
    table = Table(title=f"{report.model}: {report.rows[0].requests} held-out prompts for each best_of")
    for column in (
        "best_of",
        "gold [95 %]",
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
            str(row.gold or "-"),
            str(row.reward or "-"),
            f"{row.tokens_per_request:.1f}",
            f"{row.latency_p50_s:.2f}",
            f"{row.latency_p95_s:.2f}",
            str(row.failed),
        )
    return table
