"""What a load test of the latency target saw, as figures with intervals. Pure."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np

from measuring.estimators import Interval, percentiles, quantile

_BLOCK_S = 5.0  # requests of the same moment meet the same queue, so moments are resampled, not requests
_RESAMPLES = 500

FIXED, REFUSING, CONTROLLED = "fixed N", "fixed N, refusing", "controller"


@dataclass(frozen=True)
class Arrival:
    """One request that arrived, and what became of it."""

    round: int
    due_s: float  # when, since the round began
    status: int
    latency_s: float | None = None  # None where it was refused or failed
    best_of: int | None = None  # that was used
    reward: float | None = None
    correct: bool | None = None  # whether the answer is right

    @property
    def answered(self) -> bool:
        return self.latency_s is not None


@dataclass(frozen=True)
class ArmSummary:
    """Of one arm, each with its 95 % interval by bootstrap over moments of 5 s; nan where nothing was answered."""

    requests: int  # that arrived
    failed: int  # neither answered nor refused
    p50_s: Interval
    p99_s: Interval
    in_time: Interval  # of all requests, the share answered within the target
    goodput: Interval  # such answers a second
    refused: Interval  # share with 429

    # Means over answers.
    best_of: Interval
    reward: Interval
    correct: Interval


@dataclass(frozen=True)
class Goal:
    """What is to be held, and under which load."""

    best_of: int
    light_p99_s: float  # with nothing else to do
    target_s: float
    rate: float  # requests a second at which fixed N holds the target
    full_rate: float  # that a full server answers
    steps: Sequence[tuple[float, float]]  # each load of the search with its p99

    @property
    def max_candidates(self) -> int:
        """As many as a full server answers within the target."""
        return self.best_of * max(int(self.full_rate * self.target_s), 1)


@dataclass(frozen=True)
class Trial:
    """All servers under the same load."""

    goal: Goal
    times: float  # the load over what fixed N holds
    rounds: int
    round_s: float
    arrivals: Mapping[str, Sequence[Arrival]]  # by the server's name

    @cached_property
    def summaries(self) -> dict[str, ArmSummary]:
        """By the server's name."""
        return {name: summarise(some, self.goal.target_s, self.round_s) for name, some in self.arrivals.items()}


def summarise(seen: Sequence[Arrival], target_s: float, seconds: float) -> ArmSummary:
    """seen: of all rounds. seconds: that each round lasted. Raises ValueError where nothing was seen."""
    if not seen:
        raise ValueError("there is no request to summarise")
    blocks = _blocks(seen)
    total_s = seconds * len({one.round for one in seen})

    def interval(statistic: Callable[[Sequence[Arrival]], float]) -> Interval:
        generator = np.random.default_rng(0)
        draws = [
            statistic([one for index in generator.integers(0, len(blocks), len(blocks)) for one in blocks[index]])
            for _ in range(_RESAMPLES)
        ]
        return Interval(statistic(seen), *percentiles(np.array(draws)))

    def good(some: Sequence[Arrival]) -> int:
        return sum(one.latency_s is not None and one.latency_s <= target_s for one in some)

    return ArmSummary(
        requests=len(seen),
        failed=sum(not one.answered and one.status != 429 for one in seen),
        p50_s=interval(lambda some: quantile([s for one in some if (s := one.latency_s) is not None], 0.5)),
        p99_s=interval(lambda some: quantile([s for one in some if (s := one.latency_s) is not None], 0.99)),
        in_time=interval(lambda some: good(some) / len(some)),
        goodput=interval(lambda some: good(some) / total_s),
        refused=interval(lambda some: sum(one.status == 429 for one in some) / len(some)),
        best_of=interval(lambda some: _mean([one.best_of for one in some if one.best_of is not None])),
        reward=interval(lambda some: _mean([one.reward for one in some if one.reward is not None])),
        correct=interval(lambda some: _mean([one.correct for one in some if one.correct is not None])),
    )


def _blocks(seen: Sequence[Arrival]) -> list[list[Arrival]]:
    def moment(one: Arrival) -> tuple[int, int]:
        return one.round, int(one.due_s // _BLOCK_S)

    return [list(group) for _, group in groupby(sorted(seen, key=moment), key=moment)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
