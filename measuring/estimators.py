"""Estimators from N samples of each prompt, and their intervals. Pure numpy."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reward.expected_best import best_of_each

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """An estimate with the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return self.text()

    def text(self, digits: int = 3) -> str:
        """`value [low, high]` with so many digits after the point."""
        return f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def best_of_n_wins(proxy: Floats, gold: Floats, sizes: Sequence[int]) -> Floats:
    """How often best-of-n by `proxy` has more gold than one other sample, ties as half, for each n up to N/2, [sizes].

    Unbiased: chosen in one half of the samples and compared with all of the other half; the mean of both ways.
    """
    half = len(gold) // 2
    shares = []
    for ours, theirs in ((slice(half), slice(half, None)), (slice(len(gold) - half, None), slice(len(gold) - half))):
        lead = gold[ours, None] - gold[None, theirs]
        shares.append(best_of_each(proxy[ours], ((lead > 0) + (lead == 0) / 2).mean(axis=1), sizes))
    mean: Floats = np.mean(shares, axis=0)
    return mean


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """The probability that at least one of k samples, drawn from these without replacement, is correct.

    1 - prod_{i=N-c+1..N} (1 - k/i), Chen et al. 2021, section 2.1. Raises ValueError unless 1 <= k <= N, 0 <= c <= N.
    """
    if not 1 <= k <= samples or not 0 <= correct <= samples:
        raise ValueError(f"pass_at_k needs 1 <= k <= N and 0 <= c <= N: N={samples}, c={correct}, k={k}")
    if samples - correct < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(samples - correct + 1, samples + 1))


def wilson(successes: float, trials: int, z: float = 1.959964) -> Interval:
    """The Wilson score interval of a proportion (Wilson 1927). Raises ValueError without trials."""
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"wilson needs trials >= 1 and 0 <= successes <= trials: {successes} of {trials}")
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials**2))
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))


def mean_interval(values: Sequence[float]) -> Interval:
    """The mean with its 95 % interval by Student's t (Student 1908); with fewer than two values it is everything."""
    mean = float(np.mean(values)) if len(values) else math.nan
    if len(values) < 2:
        return Interval(mean, -math.inf, math.inf)
    half = _student(len(values) - 1) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def share_closed(single: float, selected: float, oracle: float) -> float:
    """How much of the distance between N=1 and pass@N the selection closes; nan when there is no distance."""
    return (selected - single) / (oracle - single) if oracle > single else math.nan


def bootstrap(rows: Floats, statistic: Callable[[Floats], float], *, seed: int = 0, resamples: int = 2000) -> Interval:
    """The statistic of `rows` [prompts, columns] with the percentile interval over resampled prompts (Efron 1979).

    Resamples on which the statistic is nan are left out; the ends are nan where it always is.
    """
    draws = bootstrap_draws(rows, lambda sample: np.array(statistic(sample)), seed=seed, resamples=resamples)
    return Interval(statistic(rows), *percentiles(draws))


def bootstrap_draws(
    rows: Floats, statistic: Callable[[Floats], Floats], *, seed: int = 0, resamples: int = 2000
) -> Floats:
    """The statistic, any array, of each of `resamples` draws of as many rows, with replacement: [resamples, ...]."""
    generator = np.random.default_rng(seed)
    return np.array([statistic(rows[generator.integers(0, len(rows), len(rows))]) for _ in range(resamples)])


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all is not above; nan where there is none."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)] if ordered else math.nan


def percentiles(draws: Floats) -> tuple[float, float]:
    """The ends of the middle 95 % of the draws [resamples] that are numbers; nan where none is."""
    known = draws[~np.isnan(draws)]
    if not len(known):
        return math.nan, math.nan
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def ratio(rows: Floats) -> float:
    """sum of the first column / sum of the second: a mean over things that prompts have different numbers of."""
    top, bottom = rows.sum(axis=0)
    return float(top / bottom) if bottom else math.nan


def win_shares(ours: ArrayLike, theirs: ArrayLike) -> tuple[float, float]:
    """(wins, ties) as shares of all pairs of one of our values and one of theirs, of answers to one prompt.

    The win rate with ties as half is wins + ties / 2; no other order of the same samples could change it.
    """
    difference = np.asarray(ours, float)[:, None] - np.asarray(theirs, float)[None, :]
    return float((difference > 0).mean()), float((difference == 0).mean())


def distinct_n(texts: Iterable[str], n: int) -> float:
    """Different n-grams of words over all n-grams of all texts together; nan where no text has n words.

    Li et al. 2016, section 5.3 ("distinct-1", "distinct-2"). It falls with the amount of text: compare equal amounts.
    """
    grams = list(
        chain.from_iterable(zip(*(words[i:] for i in range(n)), strict=False) for words in map(str.split, texts))
    )
    return len(set(grams)) / len(grams) if grams else math.nan


def _student(freedom: int) -> float:
    """The 97.5 % quantile of Student's t: a table, from 10 on the expansion of Fisher and Cornish 1960, to 1e-3."""
    table = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622)
    if freedom <= len(table):
        return table[freedom - 1]
    z = 1.959964
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3
