"""What a load test of the latency target saw, as figures with intervals and as one picture. Pure."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from matplotlib.figure import Figure

from measuring.estimators import Interval, percentiles
from measuring.plots import GREY, finish

_BLOCK_S = 5.0  # requests of the same moment meet the same queue, so moments are resampled, not requests
_RESAMPLES = 500


@dataclass(frozen=True)
class Seen:
    """One request. round, due_s: when. latency_s: None where it was refused or failed. best_of: N that was used.

    correct: whether the answer is right.
    """

    round: int
    due_s: float
    status: int
    latency_s: float | None = None
    best_of: int | None = None
    reward: float | None = None
    correct: bool | None = None

    @property
    def answered(self) -> bool:
        return self.latency_s is not None


@dataclass(frozen=True)
class Summary:
    """Of one arm, each with its 95 % interval by bootstrap over moments of 5 s; nan where nothing was answered.

    requests: offered. failed: neither answered nor refused. in_time: of all requests, the share answered within the
    target. goodput: such answers a second. refused: share with 429. best_of, reward, correct: means over answers.
    """

    requests: int
    failed: int
    p50_s: Interval
    p99_s: Interval
    in_time: Interval
    goodput: Interval
    refused: Interval
    best_of: Interval
    reward: Interval
    correct: Interval


def summarize(seen: Sequence[Seen], target_s: float, seconds: float) -> Summary:
    """seen: of all rounds. seconds: that each round lasted. Raises ValueError where nothing was seen."""
    if not seen:
        raise ValueError("there is no request to summarize")
    blocks = _blocks(seen)
    total_s = seconds * len({one.round for one in seen})

    def interval(statistic: Callable[[Sequence[Seen]], float]) -> Interval:
        generator = np.random.default_rng(0)
        draws = [
            statistic([one for index in generator.integers(0, len(blocks), len(blocks)) for one in blocks[index]])
            for _ in range(_RESAMPLES)
        ]
        return Interval(statistic(seen), *percentiles(np.array(draws)))

    def good(some: Sequence[Seen]) -> int:
        return sum(one.latency_s is not None and one.latency_s <= target_s for one in some)

    return Summary(
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


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all is not above; nan where there is none."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)] if ordered else math.nan


def _blocks(seen: Sequence[Seen]) -> list[list[Seen]]:
    def moment(one: Seen) -> tuple[int, int]:
        return one.round, int(one.due_s // _BLOCK_S)

    return [list(group) for _, group in groupby(sorted(seen, key=moment), key=moment)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def over_time(arms: dict[str, Sequence[Seen]], target_s: float) -> Figure:
    """Latency of each request of the first round above, the N it was answered with below, a column for each arm."""
    figure = Figure(figsize=(5 * len(arms), 7), layout="constrained")
    axes = figure.subplots(2, len(arms), sharex=True, sharey="row", squeeze=False)
    for (upper, lower), (name, seen) in zip(axes.T, arms.items(), strict=True):
        answered = [one for one in seen if one.round == 0 and one.latency_s is not None]
        refused = [one.due_s for one in seen if one.round == 0 and one.status == 429]
        due_s = [one.due_s for one in answered]
        upper.plot(due_s, [one.latency_s for one in answered], ".", markersize=5)
        upper.plot(refused, [target_s] * len(refused), "x", color="tab:red", label=f"refused (429): {len(refused)}")
        upper.axhline(target_s, color=GREY, linestyle="--", label=f"target {target_s * 1000:.0f} ms")
        upper.set_yscale("log")
        upper.set_title(name, fontsize=15)
        upper.legend(fontsize=11, loc="lower right")
        lower.plot(due_s, [one.best_of for one in answered], ".", markersize=5)
        lower.set_xlabel("seconds since the load began", fontsize=13)
    axes[0][0].set_ylabel("latency, s", fontsize=13)
    axes[1][0].set_ylabel("N that was used", fontsize=13)
    axes[1][0].set_ylim(bottom=0)
    finish(*axes.flat)
    return figure
