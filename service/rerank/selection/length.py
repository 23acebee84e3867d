"""Length calibration: rewards without what an answer's length explains of them.

Huang et al. 2024, "Post-hoc Reward Calibration", section 3. Use it where the reward model is known to like long answers
and length itself is no merit.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from service.rerank.strategies import Candidate

_Floats = NDArray[np.float64]
_SHARE = 2 / 3  # of the candidates in one local regression; Cleveland 1979 recommends 0.2 to 0.8
_LEAST_NEIGHBOURS = 8
_LEAST_CANDIDATES = 4


def length_calibrated(scored: Sequence[Candidate], worth: Mapping[int, float]) -> dict[int, float]:
    """The worth of each, by index, without what its length in tokens explains. The mean stays.

    Fewer than four candidates are left as they are: a line through them would explain nearly everything.
    """
    if len(scored) < _LEAST_CANDIDATES:
        return dict(worth)
    tokens = np.array([one.tokens for one in scored], float)
    before = np.array([worth[one.index] for one in scored])
    explained = local_regression(tokens, before)
    after = before - explained + explained.mean()
    return {one.index: float(value) for one, value in zip(scored, after, strict=True)}


def local_regression(x: _Floats, y: _Floats) -> _Floats:
    """LOWESS (Cleveland 1979) of `y` at each `x` [n], without its robustness rounds: lines by tricube weights.

    Each takes the nearest two thirds of the points. Where these are fewer than eight, the bandwidth is widened beyond
    all points, as in R's `loess` for a span above 1, towards one straight line. Equal x: their mean.
    """
    distances = np.abs(x[:, None] - x[None, :])  # [at, points]
    share = max(_SHARE, _LEAST_NEIGHBOURS / len(x))
    if share > 1:
        bandwidth = distances.max(axis=1) * share
    else:
        bandwidth = np.sort(distances, axis=1)[:, int(np.ceil(share * len(x))) - 1]
    scaled = distances / np.where(bandwidth > 0, bandwidth, 1.0)[:, None]
    weights = np.where(scaled < 1, (1 - scaled**3) ** 3, 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    x_mean, y_mean = weights @ x, weights @ y
    offsets = x[None, :] - x_mean[:, None]
    spread = (weights * offsets**2).sum(axis=1)
    slope = (weights * offsets * y[None, :]).sum(axis=1) / np.where(spread > 0, spread, np.inf)
    fitted: _Floats = y_mean + slope * (x - x_mean)
    return fitted
