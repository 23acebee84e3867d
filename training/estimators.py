"""Estimators for best-of-n, from N samples of each prompt, and their intervals. Pure numpy."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """An estimate with the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def best_of_n(proxy: Sequence[float], values: Sequence[float], n: int) -> float:
    """The expected value of the sample with the highest proxy score among n drawn from these N without replacement.

    With samples sorted by proxy, sample i (from 1) wins C(i-1, n-1) of the C(N, n) subsets; tied samples share what
    they win. Unbiased for best-of-n of the distribution (Gao et al. 2022, appendix I). Raises ValueError unless
    1 <= n <= N and no proxy score is nan.
    """
    scores, gains = np.asarray(proxy, float), np.asarray(values, float)
    count = len(scores)
    if not 1 <= n <= count or len(gains) != count:
        raise ValueError(
            f"best_of_n needs 1 <= n <= N, one value per score: n={n}, {count} scores, {len(gains)} values"
        )
    if np.isnan(scores).any():
        raise ValueError("best_of_n: a proxy score is nan")
    levels, level_of = np.unique(scores, return_inverse=True)
    sizes = np.bincount(level_of)
    mean_gain = np.bincount(level_of, weights=gains) / sizes
    at_most = np.cumsum(sizes)
    wins_up_to = np.exp(_log_choose(at_most, n) - _log_choose(np.array([count]), n))
    return float(np.diff(wins_up_to, prepend=0.0) @ mean_gain) if len(levels) else math.nan


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """The probability that at least one of k samples, drawn from these without replacement, is correct.

    1 - prod_{i=N-c+1..N} (1 - k/i), Chen et al. 2021, section 2.1. Raises ValueError unless 1 <= k <= N, 0 <= c <= N.
    """
    if not 1 <= k <= samples or not 0 <= correct <= samples:
        raise ValueError(f"pass_at_k needs 1 <= k <= N and 0 <= c <= N: N={samples}, c={correct}, k={k}")
    if samples - correct < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(samples - correct + 1, samples + 1))


def wilson(successes: int, trials: int, z: float = 1.959964) -> Interval:
    """The Wilson score interval of a proportion (Wilson 1927). Raises ValueError without trials."""
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"wilson needs trials >= 1 and 0 <= successes <= trials: {successes} of {trials}")
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials**2))
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))


def mean_interval(values: Sequence[float], z: float = 1.959964) -> Interval:
    """The mean with its normal 95 % interval; with fewer than two values the interval is everything."""
    mean = float(np.mean(values)) if len(values) else math.nan
    if len(values) < 2:
        return Interval(mean, -math.inf, math.inf)
    half = z * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def share_closed(single: float, selected: float, oracle: float) -> float:
    """How much of the distance between N=1 and pass@N the selection closes; nan when there is no distance."""
    return (selected - single) / (oracle - single) if oracle > single else math.nan


def bootstrap(rows: Floats, statistic: Callable[[Floats], float], *, seed: int = 0, resamples: int = 2000) -> Interval:
    """The statistic of `rows` [prompts, columns] with the percentile interval over resampled prompts (Efron 1979)."""
    generator = np.random.default_rng(seed)
    draws = [statistic(rows[generator.integers(0, len(rows), len(rows))]) for _ in range(resamples)]
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return Interval(statistic(rows), float(low), float(high))


def kl_bound(n: int) -> float:
    """log n - (n-1)/n: an upper bound, in nats, on KL(best-of-n || base) (Beirami et al. 2024, theorem 1)."""
    if n < 1:
        raise ValueError(f"kl_bound needs n >= 1, got {n}")
    return math.log(n) - (n - 1) / n


def _log_choose(totals: NDArray[np.int64], n: int) -> Floats:
    """log C(total, n) of each total; -inf where total < n."""
    return np.array(
        [
            math.lgamma(total + 1) - math.lgamma(n + 1) - math.lgamma(total - n + 1) if total >= n else -math.inf
            for total in totals.tolist()
        ]
    )
