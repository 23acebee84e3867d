"""What the reward of a prefix predicts of that of the whole: correlations, and how many to keep at a checkpoint."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from measuring.estimators import Floats, Interval, bootstrap
from training.samples.trace import Traced, TracedPrompt, has_prefixes

SHARES = (0.25, 0.5, 0.75)
_EQUAL = 1e-9


@dataclass(frozen=True)
class PrefixRanks:
    """At each share of a candidate's length: Spearman's correlation of prefix and final reward within a prompt."""

    correlation: dict[float, Interval]


def prefix_ranks(prompts: Sequence[TracedPrompt]) -> PrefixRanks | None:
    """Means over prompts whose candidates differ in reward; None where the trace has no rewards of prefixes.

    A prefix is the longest that was scored up to that share of its candidate, and a candidate without one is left out.
    """
    if not has_prefixes(prompts):
        return None
    found = {}
    for share in SHARES:
        each = [value for prompt in prompts if not np.isnan(value := _spearman(prompt, share))]
        if each:
            found[share] = bootstrap(np.array(each)[:, None], lambda rows: float(rows.mean()))
    return PrefixRanks(found)


def checkpoint_of(prompts: Sequence[TracedPrompt]) -> int:
    """Tokens between two rewards of a growing candidate of this trace. Raises ValueError where there are none."""
    lengths = [[tokens for tokens, _ in c.prefix_rewards] for prompt in prompts for c in prompt.candidates]
    gaps = [int(gap) for of_candidate in lengths if len(of_candidate) > 1 for gap in np.diff(of_candidate)]
    firsts = [of_candidate[0] for of_candidate in lengths if of_candidate]
    if not firsts:
        raise ValueError("the trace holds no rewards of growing candidates; collect it with --trace")
    return int(np.median(gaps or firsts))


def learn_keep(
    prompts: Sequence[TracedPrompt],
    *,
    best_of: int,
    checkpoint_tokens: int,
    miss: float,
    draws: int = 20,
    seed: int = 0,
) -> tuple[float, ...]:
    """The shares for `prune` at which each checkpoint loses the best of `best_of` with a probability of `miss`.

    Found on random draws, checkpoint after checkpoint, each on those that the ones before have left. Ties with the
    best count as it.
    """
    generator = random.Random(f"keep-{seed}")
    longest = max(candidate.tokens for prompt in prompts for candidate in prompt.candidates)
    drawn = [
        _Draw(generator.sample(prompt.candidates, best_of), checkpoint_tokens, longest // checkpoint_tokens)
        for prompt in prompts
        for _ in range(draws)
    ]
    keep: list[float] = []
    left = best_of
    for checkpoint in range(longest // checkpoint_tokens):
        places = min(left, 1 + int(np.quantile([draw.ahead(checkpoint) for draw in drawn], 1 - miss, method="higher")))
        for draw in drawn:
            draw.cut(checkpoint, places)
        keep.append(places / left)
        left = places
    while len(keep) > 1 and keep[-1] == 1.0 == keep[-2]:
        keep.pop()
    return tuple(keep)


class _Draw:
    """best_of candidates of one prompt: rewards at each checkpoint [checkpoints, best_of], final ones [best_of]."""

    def __init__(self, candidates: Sequence[Traced], step: int, checkpoints: int) -> None:
        self._final = np.array([candidate.reward for candidate in candidates])
        self._at: Floats = np.array([[c.reward_at(step * (i + 1)) for c in candidates] for i in range(checkpoints)])
        self._left = np.ones(len(candidates), bool)

    def ahead(self, checkpoint: int) -> int:
        """How many of those left come before the first that will be the best of them."""
        final = self._final[self._order(checkpoint)]
        return int(np.argmax(final >= final.max() - _EQUAL))

    def cut(self, checkpoint: int, places: int) -> None:
        self._left[self._order(checkpoint)[places:]] = False

    def _order(self, checkpoint: int) -> NDArray[np.intp]:
        """Those left, by their reward here, of equal ones the earlier first: as `prune` ranks them."""
        left = np.flatnonzero(self._left)
        return left[np.argsort(-self._at[checkpoint][left], kind="stable")]


def _spearman(prompt: TracedPrompt, share: float) -> float:
    """nan where the final rewards, or those of the prefixes, are all equal, or fewer than two have a prefix."""
    known = [
        (before[-1], candidate.reward)
        for candidate in prompt.candidates
        if (before := [reward for length, reward in candidate.prefix_rewards if length <= share * candidate.tokens])
    ]
    if len(known) < 2:
        return float("nan")
    prefixes, final = (_ranks(np.array(values)) for values in zip(*known, strict=True))
    if not prefixes.std() or not final.std():
        return float("nan")
    return float(np.corrcoef(prefixes, final)[0, 1])


def _ranks(values: Floats) -> Floats:
    """Ties share their mean rank."""
    _, level, count = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(count)
    ranks: Floats = (ends - (count + 1) / 2)[level]
    return ranks
