"""Measures a running server on a lab's held-out prompts, through HTTP.

    bestofn evaluate server --lab arithmetic --best-of 1,2,4,8,16 --prompts 500

For each best_of: ask every prompt, judge the answer with the lab's gold reward, count tokens and time. For the largest
one also the best of its candidates by gold (pass@N where gold is 0 or 1), and the share of the distance between N=1 and
that which the selection closes. A request is sent up to three times where its failure may pass; one that still fails is
counted and reported, and its prompt is left out of that row's numbers.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2
import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from measuring.answers import Answer
from measuring.client import connect, first_model
from measuring.estimators import Floats, Interval, bootstrap, mean_interval, share_closed, wilson
from measuring.questions import ask
from measuring.strict_json import strict_json
from training.data.records import Conversation
from training.labs import lab
from training.labs.lab import Lab

_TRIES = 3


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
class Judged:
    """An answer with its gold reward, which is nan where the request failed."""

    answer: Answer
    gold: float = math.nan  # of the answer
    best_gold: float = math.nan  # the highest among it and all candidates


@dataclass(frozen=True)
class ServerRow:
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
class ServerReport:
    """All rows, and for the largest best_of how much of the possible gain was realised."""

    model: str
    rows: tuple[ServerRow, ...]
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
        return strict_json(self)


async def run(evaluation: Evaluation) -> ServerReport:
    """Ask all prompts for each best_of. Raises ConnectionError when the server cannot be reached."""
    world = lab(evaluation.lab, evaluation.lab_options)
    prompts = world.prompts(evaluation.prompts, "held_out", seed=evaluation.seed)
    async with connect(evaluation.base_url, api_key=evaluation.api_key, clients=evaluation.concurrency) as client:
        model = evaluation.model or await first_model(client)
        with Progress() as progress:
            found = {
                best_of: await _ask_all(client, model, world, prompts, best_of, evaluation, progress)
                for best_of in evaluation.best_of
            }
    return summarise(model, found)


async def _ask_all(
    client: httpx2.AsyncClient,
    model: str,
    world: Lab,
    prompts: Sequence[Conversation],
    best_of: int,
    evaluation: Evaluation,
    progress: Progress,
) -> list[Judged]:
    """An answer to each prompt, in their order."""
    task = progress.add_task(f"best_of={best_of}", total=len(prompts))
    fields = {
        "model": model,
        "temperature": 1.0,
        "max_tokens": world.answer_tokens,
        "best_of": best_of,
        "rerank": {"return_candidates": True},
    }
    load = await ask(
        client,
        prompts,
        fields,
        evaluation.concurrency,
        seed=evaluation.seed,
        answered=lambda _: progress.advance(task),
        tries=_TRIES,
    )
    return [judge(answer, world, prompt) for answer, prompt in zip(load.answers, prompts, strict=True)]


def judge(answer: Answer, world: Lab, prompt: Conversation) -> Judged:
    """By the gold reward, of the answer and of all candidates."""
    if not answer.ok:
        return Judged(answer)
    gold = world.gold(prompt, answer.text)
    candidates = [world.gold(prompt, candidate.get("text") or "") for candidate in answer.rerank.get("candidates", ())]
    return Judged(answer, gold, max([gold, *candidates]))


def summarise(model: str, found: dict[int, list[Judged]]) -> ServerReport:
    """Rows for each best_of; the gain compares the prompts that both the smallest and the largest answered."""
    sizes = sorted(found)
    rows = tuple(_row(best_of, found[best_of]) for best_of in sizes)
    both = [
        (single.gold, best.gold, best.best_gold)
        for single, best in zip(found[sizes[0]], found[sizes[-1]], strict=True)
        if single.answer.ok and best.answer.ok
    ]
    if sizes[0] != 1 or len(sizes) == 1 or not both:
        return ServerReport(model, rows, None, None)
    outcomes = np.array(both)  # [prompts, (N=1, best-of-N, the best of N by gold)]

    def closed(sample: Floats) -> float:
        single, selected, oracle = sample.mean(axis=0)
        return share_closed(float(single), float(selected), float(oracle))

    return ServerReport(model, rows, _mean(outcomes[:, 2].tolist()), bootstrap(outcomes, closed))


def _row(best_of: int, found: Sequence[Judged]) -> ServerRow:
    done = [judged for judged in found if judged.answer.ok]
    rewards = [judged.answer.rerank.get("reward") for judged in done]
    known = [float(reward) for reward in rewards if reward is not None]
    latencies = [judged.answer.latency_s for judged in done]
    tokens = [judged.answer.generated_tokens for judged in done]
    return ServerRow(
        best_of=best_of,
        requests=len(found),
        failed=len(found) - len(done),
        errors=tuple(dict.fromkeys(judged.answer.error for judged in found if not judged.answer.ok))[:3],
        gold=_mean([judged.gold for judged in done]) if done else None,
        reward=mean_interval(known) if known else None,
        tokens_per_request=float(np.mean(tokens)) if done else math.nan,
        latency_p50_s=float(np.quantile(latencies, 0.5)) if done else math.nan,
        latency_p95_s=float(np.quantile(latencies, 0.95)) if done else math.nan,
    )


def _mean(golds: Sequence[float]) -> Interval:
    """Wilson's interval where gold is 0 or 1, the normal one where it is a measure."""
    if set(golds) <= {0.0, 1.0}:
        return wilson(int(sum(golds)), len(golds))
    return mean_interval(golds)


def _table(report: ServerReport) -> Table:
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
