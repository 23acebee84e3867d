"""What is known of a prompt's rewards before its candidates are there, and after some are.

A prompt is of one of a few kinds, each with its own distribution of rewards over bins; its first rewards show which (a
latent class model, Lazarsfeld and Henry 1968; learned from a trace by `training.experiments.replay.kinds`). So a hard
prompt, whose rewards are low and far apart, stands out from an easy one after a candidate or two.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist


@dataclass(frozen=True)
class Prior:
    """K kinds of prompts over B bins of rewards. Raises ValueError where these do not fit together."""

    values: tuple[float, ...]  # the mean reward of each bin, rising, [B]
    edges: tuple[float, ...]  # the rewards between the bins, [B - 1]
    weights: tuple[float, ...]  # how common each kind is, sum 1, [K]
    shares: tuple[tuple[float, ...], ...]  # of each bin in a kind's rewards, rows sum to 1, [K][B]

    def __post_init__(self) -> None:
        bins = len(self.values)
        if not all(map(math.isfinite, (*self.values, *self.edges))):
            raise ValueError("prior: values and edges must be finite")
        if not bins or len(self.edges) != bins - 1 or {len(row) for row in self.shares} != {bins}:
            raise ValueError("prior: every kind needs a share for each value, and edges stand between values")
        if any(low >= high for low, high in [*pairwise(self.values), *pairwise(self.edges)]):
            raise ValueError("prior: values and edges must rise")
        if len(self.weights) != len(self.shares) or not all(
            math.isclose(sum(row), 1, abs_tol=1e-3) and min(row) >= 0 for row in (self.weights, *self.shares)
        ):
            raise ValueError("prior: weights, and the shares of each kind, must be positive and sum to 1")

    def posterior(self, rewards: Sequence[float]) -> list[float]:
        """How likely each kind is once these rewards are known, [K]."""
        bins = [bisect_right(self.edges, reward) for reward in rewards]
        logs = [
            _log(weight) + sum(_log(row[index]) for index in bins)
            for weight, row in zip(self.weights, self.shares, strict=True)
        ]
        highest = max(logs)
        odds = [math.exp(value - highest) for value in logs]
        return [value / sum(odds) for value in odds]

    def gains(self, rewards: Sequence[float], most: int) -> list[float]:
        """How much each further candidate, the first to the `most`-th, is expected to add to the best reward.

        Expected improvement (Mockus 1975) of the k-th over the best of those before it: the integral, from the best
        reward on, of F^(k-1) (1 - F), where F is a kind's distribution function; then the mean over kinds. It falls
        with k. Raises ValueError without a reward.
        """
        best = max(rewards)
        gains = [0.0] * most
        for weight, row in zip(self.posterior(rewards), self.shares, strict=True):
            below, lowest = 0.0, best
            for share, value in zip(row, self.values, strict=True):
                if value > lowest:
                    step = weight * (value - lowest) * (1 - below)
                    for k in range(most):
                        gains[k] += step
                        step *= below
                    lowest = value
                below = min(1.0, below + share)
        return gains


def _log(share: float) -> float:
    return math.log(max(share, 1e-12))


def _normal_kinds() -> Prior:
    """Means and spreads that fit rewards normalised to mean 0 and standard deviation 1 over all prompts."""
    edges = tuple(index / 4 for index in range(-12, 13))
    values = (edges[0] - 0.25, *(low + 0.125 for low in edges[:-1]), edges[-1] + 0.25)
    kinds = [NormalDist(mean, spread) for mean in (-1.2, -0.6, 0.0, 0.6, 1.2) for spread in (0.25, 0.5, 1.0)]
    shares = []
    for kind in kinds:
        up_to = [0.0, *(kind.cdf(edge) for edge in edges), 1.0]
        shares.append(tuple(high - low for low, high in pairwise(up_to)))
    return Prior(values, edges, (1 / len(kinds),) * len(kinds), tuple(shares))


NORMAL_KINDS = _normal_kinds()
