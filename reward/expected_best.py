"""What best-of-n of samples that are there would have got: an unbiased estimator. Pure numpy."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float64]


def best_of_n(proxy: Sequence[float] | _Floats, values: Sequence[float] | _Floats, n: int) -> float:
    """The expected value of the sample with the highest proxy score among n drawn from these N without replacement.

    With samples sorted by proxy, sample i (from 1) wins C(i-1, n-1) of the C(N, n) subsets; tied samples share what
    they win. Unbiased for best-of-n of the distribution (Gao et al. 2022, appendix I). Raises ValueError unless
    1 <= n <= N and no proxy score is nan.
    """
    return float(best_of_each(proxy, values, [n])[0])


def best_of_each(proxy: Sequence[float] | _Floats, values: Sequence[float] | _Floats, sizes: Sequence[int]) -> _Floats:
    """`best_of_n` for each n of `sizes`, [sizes]; raises as it does."""
    scores, gains = np.asarray(proxy, float), np.asarray(values, float)
    count = len(scores)
    if not count or len(gains) != count or not all(1 <= n <= count for n in sizes):
        raise ValueError(
            f"best_of_n needs 1 <= n <= N, one value per score: n={list(sizes)}, {count} scores, {len(gains)} values"
        )
    if np.isnan(scores).any():
        raise ValueError("best_of_n: a proxy score is nan")
    _, level_of = np.unique(scores, return_inverse=True)
    tied = np.bincount(level_of)
    mean_gain = np.bincount(level_of, weights=gains) / tied
    wins_up_to = _subsets_within(count, sizes)[:, np.cumsum(tied)]  # [sizes, levels]
    selected: _Floats = np.diff(wins_up_to, prepend=0.0) @ mean_gain
    return selected


def _subsets_within(count: int, sizes: Sequence[int]) -> _Floats:
    """C(i, n) / C(N, n), the share of the subsets of n that lie within the first i of N, [sizes, i = 0 .. N].

    From 1 at i = N downwards by C(i-1, n) / C(i, n) = (i-n) / i.
    """
    i = np.arange(count, 0, -1)
    steps = np.maximum(i - np.asarray(sizes)[:, None], 0) / i
    shares: _Floats = np.concatenate([np.ones((len(sizes), 1)), np.cumprod(steps, axis=1)], axis=1)[:, ::-1]
    return shares
