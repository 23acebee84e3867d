"""What each scored candidate is worth: its reward, made harder to fool.

All utilities are on the scale of `reward` (normalised by the checkpoint), so that they can be read beside it.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from service.rerank.selection.method import Selection
from service.rerank.strategies import Candidate

_Floats = NDArray[np.float64]
_SHARE = 2 / 3  # of the candidates in one local regression; Cleveland 1979 recommends 0.2 to 0.8
_LEAST_NEIGHBOURS = 8
_LEAST_CANDIDATES = 4


def utilities(candidates: Sequence[Candidate], selection: Selection, reward_std: float) -> dict[int, float]:
    """Of every scored candidate, by index. reward_std: by which the checkpoint divides the mean of its heads.

    Raises ValueError where a candidate lacks the rewards of several heads that `selection.heads` compares.
    """
    values = {one.index: one.reward for one in candidates if one.reward is not None}
    scored = [one for one in candidates if one.reward is not None]
    if selection.heads != "mean" and scored:
        values = _over_heads(scored, values, selection, reward_std)
    return _length_calibrated(scored, values) if selection.length_calibrated else values


def _over_heads(
    scored: Sequence[Candidate], rewards: Mapping[int, float], selection: Selection, reward_std: float
) -> dict[int, float]:
    """An ensemble's caution: where its members disagree, an answer is worth less (Coste et al. 2024, section 3).

    worst: the minimum over heads (worst-case optimisation). variance: their mean less `variance_weight` times their
    population variance (uncertainty-weighted optimisation). Use either where best-of-N must stay safe at large N and
    the reward model has several heads that learned the same; `worst` has no knob, `variance` is milder.

    Bradley-Terry leaves each head's reward undetermined up to a function of the prompt. So each head is first centred
    on the request's own candidates; the mean reward comes back as an offset, so that the mean over heads is `reward`.
    """
    names = list(scored[0].rewards)
    if len(names) < 2 or any(set(one.rewards) != set(names) for one in scored):
        raise ValueError(
            f"selection.heads: {selection.heads} compares the heads of a reward model; there are no several"
        )
    raw = np.array([[one.rewards[name] for name in names] for one in scored])  # [candidates, heads]
    heads = (raw - raw.mean(axis=0)) / reward_std
    if selection.heads == "worst":
        cautious = heads.min(axis=1)
    else:
        cautious = heads.mean(axis=1) - selection.variance_weight * heads.var(axis=1)
    offset = sum(rewards.values()) / len(rewards)
    return {one.index: float(value) + offset for one, value in zip(scored, cautious, strict=True)}


def _length_calibrated(scored: Sequence[Candidate], values: Mapping[int, float]) -> dict[int, float]:
    """Without what an answer's length in tokens explains (Huang et al. 2024, "Post-hoc Reward Calibration", section 3).

    Use it where the reward model is known to like long answers and length itself is no merit. Fewer than four
    candidates are left as they are: a line through them would explain nearly everything. The mean stays.
    """
    if len(scored) < _LEAST_CANDIDATES:
        return dict(values)
    tokens = np.array([one.tokens for one in scored], float)
    before = np.array([values[one.index] for one in scored])
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
