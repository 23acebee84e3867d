"""Learns `Prior`, what rewards to expect of a prompt, from the rewards of many prompts in a trace.

Each prompt's rewards fall into bins that are equally full over all prompts. A prompt is of one of K kinds, each with
its own shares of the bins; weights and shares are found by expectation-maximisation (Dempster et al. 1977, section
4.3) with a Dirichlet prior on both, so that nothing is impossible because it was never seen.
"""

from collections.abc import Sequence

import numpy as np

from measuring.estimators import Floats
from service.rerank.strategies.prior import Prior

_BINS = 24
_KINDS = 8
_ITERATIONS = 200
_PSEUDO_COUNT = 0.5  # of each kind's rewards, spread over the bins as over all prompts


def learn(rewards: Sequence[Sequence[float]], *, kinds: int = _KINDS, bins: int = _BINS) -> Prior:
    """rewards: of each prompt, as many as there are. Fewer kinds where there are fewer prompts.

    Raises ValueError where all rewards are equal, or there are none.
    """
    rounded = [np.array(_rounded(of_prompt)) for of_prompt in rewards]
    pooled = np.concatenate(rounded or [np.empty(0)])
    if not len(pooled) or pooled.min() == pooled.max():
        raise ValueError("a prior needs rewards that differ")
    inner = np.unique(np.quantile(pooled, np.linspace(0, 1, bins + 1)[1:-1], method="nearest"))
    edges = inner[inner > pooled.min()] if inner[-1] > pooled.min() else np.unique(pooled)[1:2]
    places = np.digitize(pooled, edges)
    values = np.bincount(places, weights=pooled) / np.bincount(places)
    counts = np.array([np.bincount(np.digitize(of_prompt, edges), minlength=len(values)) for of_prompt in rounded])
    weights, shares = _mixture(counts.astype(float), min(kinds, len(counts)))
    return Prior(_rounded(values), _rounded(edges), _rounded(weights), tuple(map(_rounded, shares)))


def _rounded(values: Sequence[float] | Floats) -> tuple[float, ...]:
    """To six digits: what differs by less is noise of the batch, and the file can be read."""
    return tuple(float(f"{value:.6g}") for value in values)


def _mixture(counts: Floats, kinds: int) -> tuple[Floats, Floats]:
    """Weights [kinds] and shares [kinds, bins] from counts [prompts, bins]; begins with prompts in order of reward."""
    overall = counts.sum(axis=0) / counts.sum()
    height = counts @ np.arange(counts.shape[1]) / counts.sum(axis=1)
    belongs = np.zeros((len(counts), kinds))
    belongs[np.argsort(height, kind="stable"), np.arange(len(counts)) * kinds // len(counts)] = 1.0
    weights, shares = np.empty(kinds), np.empty((kinds, counts.shape[1]))
    for _ in range(_ITERATIONS):
        weights = (belongs.sum(axis=0) + _PSEUDO_COUNT) / (len(counts) + kinds * _PSEUDO_COUNT)
        shares = belongs.T @ counts + _PSEUDO_COUNT * overall
        shares /= shares.sum(axis=1, keepdims=True)
        logs = counts @ np.log(shares).T + np.log(weights)
        belongs = np.exp(logs - logs.max(axis=1, keepdims=True))
        belongs /= belongs.sum(axis=1, keepdims=True)
    return weights, shares
