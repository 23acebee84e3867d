"""What `bench_peers` reports: each server's figures over the rounds, beside bestofn's in the same round."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rich.table import Table

from measuring.client import Load
from measuring.estimators import Interval, wilson
from training.data.records import Conversation
from training.labs.lab import Lab

OURS, PLAIN = "bestofn", "plain vLLM, no scoring"


@dataclass(frozen=True)
class Setup:
    """A server to measure. body: what asks it for N, in every request. ranks: whether it picks by anything."""

    name: str
    url: str
    body: Mapping[str, object]
    ranks: bool = True


@dataclass(frozen=True)
class Measured:
    """One setup in one round. right: answers that gold calls right. tokens: generated, ratings included.

    Latencies are of the requests that succeeded; nan where none did.
    """

    requests: int
    failed: int
    right: int
    tokens: int
    requests_per_second: float
    p50_s: float
    p95_s: float

    @classmethod
    def of(cls, load: Load, prompts: Sequence[Conversation], lab: Lab) -> "Measured":
        """prompts: of the load's requests, in order."""
        answers = [(prompts[answer.index], answer.body or {}) for answer in load.succeeded]
        texts = [(prompt, body["choices"][0]["message"]["content"] or "") for prompt, body in answers]
        latencies = load.latencies_s or (math.nan,)
        return cls(
            requests=len(load.answers),
            failed=len(load.answers) - len(load.succeeded),
            right=sum(lab.gold(prompt, text) == 1 for prompt, text in texts),
            tokens=sum(answer.generated_tokens for answer in load.succeeded),
            requests_per_second=load.requests_per_second,
            p50_s=float(np.quantile(latencies, 0.5)),
            p95_s=float(np.quantile(latencies, 0.95)),
        )


@dataclass(frozen=True)
class Span:
    """The median of the measurements with the lowest and the highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Span":
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g} - {self.high:.3g})"


@dataclass(frozen=True)
class Summary:
    """One setup over all rounds.

    throughput, p95: bestofn's requests a second and p95 over this setup's in the same round. gold: share of right
    answers among those that came. tokens: a request's, a mean.
    """

    name: str
    ranks: bool
    requests_per_second: Span
    p50_s: Span
    p95_s: Span
    gold: Interval | None
    tokens: float
    requests: int
    failed: int
    throughput: Span
    p95: Span


Rounds = Sequence[Mapping[str, Sequence[Measured]]]  # of each setup by name; bestofn stands in every round


def summarise(setup: Setup, rounds: Rounds) -> Summary:
    """The setup's measurements of all rounds. bestofn's own of a round are averaged before others are compared."""
    every = [measured for one in rounds for measured in one[setup.name]]
    beside = [(_mean(one[OURS]), measured) for one in rounds for measured in one[setup.name]]
    succeeded = sum(measured.requests - measured.failed for measured in every)
    return Summary(
        name=setup.name,
        ranks=setup.ranks,
        requests_per_second=Span.of([measured.requests_per_second for measured in every]),
        p50_s=Span.of([measured.p50_s for measured in every]),
        p95_s=Span.of([measured.p95_s for measured in every]),
        gold=wilson(sum(measured.right for measured in every), succeeded) if succeeded else None,
        tokens=sum(measured.tokens for measured in every) / succeeded if succeeded else math.nan,
        requests=sum(measured.requests for measured in every),
        failed=sum(measured.failed for measured in every),
        throughput=Span.of([_ratio(rate, measured.requests_per_second) for (rate, _), measured in beside]),
        p95=Span.of([p95_s / measured.p95_s for (_, p95_s), measured in beside]),
    )


def table(summaries: Sequence[Summary], title: str) -> Table:
    """A line for each; the last two columns are `Summary.throughput` and `Summary.p95`."""
    columns = ("server", "requests/s", "p50 s", "p95 s", "right [95 %]", "tokens", "failed")
    made = Table(*columns, "bestofn's requests/s over it", "bestofn's p95 over it", title=title)
    for one in summaries:
        gold = one.gold.text() if one.gold else "-"
        figures = (one.requests_per_second, one.p50_s, one.p95_s)
        beside = ("", "") if one.name == OURS else (str(one.throughput), str(one.p95))
        failed = f"{one.failed} of {one.requests}"
        made.add_row(one.name, *map(str, figures), gold, f"{one.tokens:.0f}", failed, *beside)
    return made


def verdict(summaries: Sequence[Summary]) -> str:
    """The share of plain vLLM's throughput that bestofn keeps, and how far it is ahead of the better one that ranks.

    A server that answered nothing is no rival, and is left out.
    """
    by_name = {one.name: one for one in summaries}
    plain = by_name[PLAIN]
    said = (
        f"bestofn keeps {plain.throughput} of the throughput that plain vLLM has with n, no scoring and half the cores."
    )
    if plain.failed == plain.requests:
        said = "Plain vLLM answered nothing."
    others = [one for one in summaries if one.ranks and one.name != OURS and one.failed < one.requests]
    if not others:
        return said
    best = min(others, key=lambda one: one.throughput.median)
    quickest = min(others, key=lambda one: one.p95_s.median)
    return (
        f"{said} It answers {best.throughput} times as many requests as {best.name} "
        f"(goal: at least 2), with {quickest.p95} of the p95 of {quickest.name} (goal: at most 0.33)."
    )


def _mean(ours: Sequence[Measured]) -> tuple[float, float]:
    """bestofn's requests a second and p95 in a round."""
    return statistics.fmean(one.requests_per_second for one in ours), statistics.fmean(one.p95_s for one in ours)


def _ratio(ours: float, other: float) -> float:
    return ours / other if other else math.inf
