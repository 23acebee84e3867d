"""What a reward model makes of pairs whose better response is known: accuracy, calibration, and whether length decides.

Rewards are raw: sigmoid(r_better - r_worse) is the probability that the Bradley-Terry model gives the pair. Two equal
rewards count as wrong, as in the published benchmarks. Pure numpy.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from measuring.estimators import Floats, Interval, bootstrap, ratio, wilson
from training.data.records import Comparison

BINS = 10  # of a calibration plot
QUANTILES = 4


@dataclass(frozen=True)
class Pairs:
    """Every pair that is not tied, [pairs] each: the better response's value minus the worse one's."""

    reward: Floats
    tokens: Floats
    margin: Floats  # of the labels, in their own unit; nan where only the order is known
    prompt: Floats  # the number of its comparison

    @property
    def right(self) -> Floats:
        """1 where the better response has the higher reward, else 0."""
        return (self.reward > 0).astype(float)


@dataclass(frozen=True)
class Bin:
    """The pairs whose value lies from `low` to `high`."""

    low: float
    high: float
    pairs: int
    accuracy: Interval  # how many of them the reward orders rightly


@dataclass(frozen=True)
class Calibration:
    """Pairs by the confidence sigmoid(|r_i - r_j|), 0.5 to 1, and how often the preferred response is better."""

    bins: tuple[Bin, ...]
    confidence: tuple[float, ...]  # the mean of each bin
    # The mean over pairs of |confidence - accuracy| of their bin, the expected calibration error of Guo et al. 2017
    # (section 2) with ten bins.
    error: float


@dataclass(frozen=True)
class Length:
    """Whether the reward merely likes the longer response: over pairs of different length, intervals over prompts."""

    longer_is_better: Interval  # how often the label prefers the longer one
    longer_is_preferred: Interval  # how often the reward does
    correlation: Interval  # Pearson's, between reward and tokens within a prompt


@dataclass(frozen=True)
class Pairwise:
    """The numbers of one set of pairs."""

    pairs: int
    prompts: int
    equal_rewards: int
    accuracy: Interval  # over pairs, Wilson's interval, which takes pairs for independent
    clustered: Interval  # the same value with an interval over prompts
    loss: float  # Bradley-Terry, nats
    calibration: Calibration
    by_label_margin: tuple[Bin, ...]
    by_reward_margin: tuple[Bin, ...]
    by_length_difference: tuple[Bin, ...]
    length: Length


def pairs_of(comparisons: Sequence[Comparison], rewards: Sequence[Floats], tokens: Sequence[Floats]) -> Pairs:
    """All pairs of all comparisons, from each response's raw reward and number of tokens."""
    rows = [
        (r[better] - r[worse], t[better] - t[worse], _label_margin(comparison, better, worse), index)
        for index, (comparison, r, t) in enumerate(zip(comparisons, rewards, tokens, strict=True))
        for better, worse in comparison.pairs()
    ]
    return Pairs(*np.array(rows, float).reshape(-1, 4).T)


def measure(comparisons: Sequence[Comparison], rewards: Sequence[Floats], tokens: Sequence[Floats]) -> Pairwise:
    """Raises ValueError where no comparison has a pair."""
    pairs = pairs_of(comparisons, rewards, tokens)
    count = len(pairs.reward)
    if not count:
        raise ValueError(
            "there is no pair of a better and a worse response to judge by: nothing is ranked, or all is tied"
        )
    known = ~np.isnan(pairs.margin)
    margins = pairs.margin[known]
    return Pairwise(
        pairs=count,
        prompts=len(np.unique(pairs.prompt)),
        equal_rewards=int((pairs.reward == 0).sum()),
        accuracy=wilson(int(pairs.right.sum()), count),
        clustered=_share(pairs.right, pairs.prompt),
        loss=float(np.logaddexp(0, -pairs.reward).mean()),
        calibration=calibration(pairs.reward),
        by_label_margin=by_quantile(margins, pairs.right[known]) if len(np.unique(margins)) > 1 else (),
        by_reward_margin=by_quantile(abs(pairs.reward), pairs.right),
        by_length_difference=by_sign(pairs.tokens, pairs.right),
        length=_length(pairs, rewards, tokens),
    )


def calibration(difference: Floats) -> Calibration:
    """From r_better - r_worse [pairs]; pairs of equal rewards, confidence 0.5, are half right here."""
    confidence = 1 / (1 + np.exp(-abs(difference)))
    right = np.where(difference == 0, 0.5, difference > 0)
    edges = np.linspace(0.5, 1, BINS + 1)
    place = np.clip(np.digitize(confidence, edges) - 1, 0, BINS - 1)
    filled = [(index, place == index) for index in range(BINS) if (place == index).any()]
    bins = tuple(
        Bin(float(edges[i]), float(edges[i + 1]), count := int(inside.sum()), wilson(float(right[inside].sum()), count))
        for i, inside in filled
    )
    gaps = [abs(confidence[inside].mean() - right[inside].mean()) * inside.sum() for _, inside in filled]
    return Calibration(
        bins, tuple(float(confidence[inside].mean()) for _, inside in filled), float(sum(gaps) / len(difference))
    )


def by_quantile(values: Floats, right: Floats, parts: int = QUANTILES) -> tuple[Bin, ...]:
    """Accuracy in about equal parts of the pairs, by value; equal values stay together."""
    if not len(values):
        return ()
    edges = np.unique(np.quantile(values, np.linspace(0, 1, parts + 1)))
    place = np.digitize(values, edges[1:-1])
    chosen = (place == index for index in range(len(edges)))
    return tuple(_bin(values[part], right[part]) for part in chosen if part.any())


def by_sign(values: Floats, right: Floats) -> tuple[Bin, ...]:
    """Accuracy where the value is below 0 (in two parts), 0, and above 0 (in two parts)."""
    below, none, above = values < 0, values == 0, values > 0
    bins = [by_quantile(values[side], right[side], parts=2) for side in (below, none, above)]
    return tuple(part for side in bins for part in side)


def _bin(values: Floats, right: Floats) -> Bin:
    return Bin(float(values.min()), float(values.max()), len(values), wilson(float(right.sum()), len(values)))


def _label_margin(comparison: Comparison, better: int, worse: int) -> float:
    """The record's margin, else the difference of its only dimension or of its overall one, else nan."""
    if comparison.margin:
        return comparison.margin
    named = [name for name in ("overall_score", "overall", "score", "preference") if name in comparison.scores]
    name = named[0] if named else next(iter(comparison.scores), None)
    if name is None or (not named and len(comparison.scores) > 1):
        return math.nan
    return comparison.scores[name][better] - comparison.scores[name][worse]


def _length(pairs: Pairs, rewards: Sequence[Floats], tokens: Sequence[Floats]) -> Length:
    differ = pairs.tokens != 0
    longer_is_better = pairs.tokens[differ] > 0
    longer_is_preferred = pairs.reward[differ] * pairs.tokens[differ] > 0
    moments = []
    for reward, length in zip(rewards, tokens, strict=True):
        r, t = reward - reward.mean(), length - length.mean()
        moments.append([r @ t, r @ r, t @ t])
    return Length(
        _share(longer_is_better.astype(float), pairs.prompt[differ]),
        _share(longer_is_preferred.astype(float), pairs.prompt[differ]),
        bootstrap(np.array(moments), _correlation),
    )


def _correlation(moments: Floats) -> float:
    covariance, first, second = moments.sum(axis=0)
    return float(covariance / math.sqrt(first * second)) if first * second > 0 else math.nan


def _share(hits: Floats, prompt: Floats) -> Interval:
    """The share of hits among all pairs, with an interval over prompts; nan where there is no pair."""
    _, group = np.unique(prompt, return_inverse=True)
    if not len(group):
        return Interval(math.nan, math.nan, math.nan)
    return bootstrap(np.column_stack([np.bincount(group, weights=hits), np.bincount(group)]).astype(float), ratio)
