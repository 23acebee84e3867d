"""What each server did in the rounds, beside bestofn in the same round. Pure."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from measuring.estimators import Interval, wilson
from measuring.loops import Load
from training.data.records import Conversation
from training.labs.lab import Lab

OURS, PLAIN = "bestofn", "plain vLLM, no scoring"


@dataclass(frozen=True)
class Setup:
    """A server to measure."""

    name: str
    url: str
    fields: Mapping[str, object]  # what asks it for N, in every request
    ranks: bool = True  # whether it picks by anything


@dataclass(frozen=True)
class SetupRound:
    """One setup in one round. Latencies are of the requests that succeeded; nan where none did."""

    requests: int
    failed: int
    right: int  # answers that gold calls right
    tokens: int  # generated, ratings included
    requests_per_second: float
    p50_s: float
    p95_s: float

    @classmethod
    def of(cls, load: Load, prompts: Sequence[Conversation], lab: Lab) -> "SetupRound":
        """prompts: of the load's requests, in order."""
        latencies = load.latencies_s or (math.nan,)
        return cls(
            requests=len(load.answers),
            failed=len(load.failed),
            right=sum(lab.gold(prompts[answer.index], answer.text) == 1 for answer in load.succeeded),
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
class SetupSummary:
    """One setup over all rounds."""

    name: str
    ranks: bool
    requests_per_second: Span
    p50_s: Span
    p95_s: Span
    gold: Interval | None  # share of right answers among those that came
    tokens: float  # of a request, a mean
    requests: int
    failed: int
    throughput: Span  # bestofn's requests a second over this setup's in the same round
    p95: Span  # bestofn's p95 over this setup's in the same round


Rounds = Sequence[Mapping[str, Sequence[SetupRound]]]  # of each setup by name; bestofn stands in every round


def summarise(setup: Setup, rounds: Rounds) -> SetupSummary:
    """The setup's measurements of all rounds. bestofn's own of a round are averaged before others are compared."""
    every = [measured for one in rounds for measured in one[setup.name]]
    beside = [(_mean(one[OURS]), measured) for one in rounds for measured in one[setup.name]]
    succeeded = sum(measured.requests - measured.failed for measured in every)
    return SetupSummary(
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


def _mean(ours: Sequence[SetupRound]) -> tuple[float, float]:
    """bestofn's requests a second and p95 in a round."""
    return statistics.fmean(one.requests_per_second for one in ours), statistics.fmean(one.p95_s for one in ours)


def _ratio(ours: float, other: float) -> float:
    return ours / other if other else math.inf
