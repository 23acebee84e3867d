"""Over-optimisation: how gold reward rises and falls as a policy moves away from its start (Gao et al. 2022).

With d = sqrt(KL(policy || start)) in nats^0.5, the gain R over the start's reward is fitted by

    best-of-n   R(d) = d (alpha - beta d)
    RL          R(d) = d (alpha - beta log d)

(their equations 1 and 2). Both are linear in alpha and beta. Intervals are over prompts, which are resampled. Pure
numpy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from measuring.estimators import Floats, Interval, bootstrap_draws, percentiles
from reward.bounds import kl_bound_nats
from reward.expected_best import best_of_each

Kind = Literal["best_of_n", "rl"]


@dataclass(frozen=True)
class Curve:
    """Rewards along a way from the start: for each point its KL in nats, and for each prompt what was gained there."""

    kind: Kind
    labels: tuple[str, ...]  # what the points are, n or a checkpoint's name
    kl: Floats
    gold: Floats  # reward less the start's, [prompts, points]
    proxy: Floats  # the same of the proxy

    @property
    def distance(self) -> Floats:
        """d = sqrt(KL) of each point."""
        return np.sqrt(self.kl)

    def part(self, keep: Sequence[int]) -> "Curve":
        """Only these points."""
        labels = tuple(self.labels[index] for index in keep)
        return Curve(self.kind, labels, self.kl[keep], self.gold[:, keep], self.proxy[:, keep])


@dataclass(frozen=True)
class Fit:
    """alpha and beta with their intervals."""

    kind: Kind
    alpha: Interval
    beta: Interval
    draws: Floats  # both of each resample, [resamples, 2]

    def predict(self, distance: float) -> Interval:
        """The gain at d, with the interval of the fitted curve."""
        terms = _terms(self.kind, np.array([distance]))[0]
        value = float(terms @ np.array([self.alpha.value, self.beta.value]))
        return Interval(value, *percentiles(self.draws @ terms))

    def values(self, distances: Floats) -> Floats:
        """The gain at each d."""
        gains: Floats = _terms(self.kind, distances) @ np.array([self.alpha.value, self.beta.value])
        return gains

    @property
    def turn(self) -> float:
        """The d of the highest gain: alpha / (2 beta), for RL exp(alpha / beta - 1); inf where it goes on rising."""
        alpha, beta = self.alpha.value, self.beta.value
        if beta <= 0:
            return float("inf")
        return alpha / (2 * beta) if self.kind == "best_of_n" else float(np.exp(alpha / beta - 1))


@dataclass(frozen=True)
class Extrapolation:
    """The gain that a fit on the points before predicts at a point, and what was measured there."""

    label: str
    distance: float
    predicted: Interval
    measured: Interval


def best_of_n_curve(proxy: Floats, gold: Floats, sizes: Sequence[int] | None = None) -> Curve:
    """The unbiased best-of-n curve from both rewards of N answers to each prompt, [prompts, N].

    `sizes` defaults to every n from 1 to N; KL is its bound log n - (n-1)/n, as in the paper. Raises ValueError for an
    n above N.
    """
    chosen = list(sizes or range(1, gold.shape[1] + 1))
    best_gold, best_proxy = (
        np.array([best_of_each(p, values, [1, *chosen]) for p, values in zip(proxy, of, strict=True)])
        for of in (gold, proxy)
    )
    return Curve(
        "best_of_n",
        tuple(map(str, chosen)),
        np.array([kl_bound_nats(n) for n in chosen]),
        best_gold[:, 1:] - best_gold[:, :1],
        best_proxy[:, 1:] - best_proxy[:, :1],
    )


def rl_curve(start: tuple[Floats, Floats], checkpoints: Mapping[str, tuple[float, Floats, Floats]]) -> Curve:
    """Of an RL or DPO run: `start` is (gold, proxy) of the first policy, each checkpoint is (KL in nats, gold, proxy).

    Rewards are [prompts, samples] on the same prompts throughout. The KL is that of `bestofn evaluate policy`; its
    own uncertainty is small beside that of the rewards and left out. A mean KL below 0 counts as 0.
    """
    means = [(kl, gold.mean(axis=1), proxy.mean(axis=1)) for kl, gold, proxy in checkpoints.values()]
    first_gold, first_proxy = (values.mean(axis=1) for values in start)
    return Curve(
        "rl",
        tuple(checkpoints),
        np.maximum([kl for kl, _, _ in means], 0.0),
        np.column_stack([gold - first_gold for _, gold, _ in means]),
        np.column_stack([proxy - first_proxy for _, _, proxy in means]),
    )


def fit(kind: Kind, distances: Floats, gains: Floats, *, resamples: int = 2000) -> Fit:
    """Least squares of the mean gain at each d; `gains` [prompts, points].

    Raises ValueError with fewer than two points at different d above 0: alpha and beta would not be determined.
    """
    if len(np.unique(distances[distances > 0])) < 2:
        raise ValueError(f"a curve of two coefficients needs two points with KL above 0, got d = {distances.tolist()}")
    solve = np.linalg.pinv(_terms(kind, distances)).T  # [points, 2]
    alpha, beta = gains.mean(axis=0) @ solve
    draws = bootstrap_draws(gains @ solve, lambda rows: rows.mean(axis=0), resamples=resamples)
    return Fit(
        kind,
        Interval(float(alpha), *percentiles(draws[:, 0])),
        Interval(float(beta), *percentiles(draws[:, 1])),
        draws,
    )


def extrapolate(curve: Curve, fitted: Sequence[int], at: int, *, resamples: int = 2000) -> Extrapolation:
    """Fit gold on the points `fitted`, and compare at point `at`; both are indices of the curve."""
    known = curve.part(list(fitted))
    measured = curve.gold[:, at]
    draws = bootstrap_draws(measured, lambda rows: np.array(rows.mean()), resamples=resamples)
    return Extrapolation(
        curve.labels[at],
        float(curve.distance[at]),
        fit(curve.kind, known.distance, known.gold, resamples=resamples).predict(float(curve.distance[at])),
        Interval(float(measured.mean()), *percentiles(draws)),
    )


def _terms(kind: Kind, distances: Floats) -> Floats:
    """What alpha and beta multiply at each d, [points, 2]; the limits at d = 0 are 0."""
    if kind == "best_of_n":
        return np.column_stack([distances, -(distances**2)])
    logs = np.log(np.where(distances > 0, distances, 1.0))
    return np.column_stack([distances, -distances * logs])
