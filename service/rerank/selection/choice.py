"""The choice: which candidates are returned, best first, and what that was based on."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from service.rerank.selection.length import length_calibrated
from service.rerank.selection.method import ARGMAX, Selection
from service.rerank.selection.picks.base import Measure, Ranking
from service.rerank.strategies import Candidate


@dataclass(frozen=True)
class Choice:
    """What a selection came to."""

    selected: tuple[int, ...]  # indices of the candidates to return, best first
    # Of each candidate that took part: its probability of being drawn first, or its answer's share of the votes. Empty
    # for argmax.
    weights: Mapping[int, float] = field(default_factory=dict)
    utilities: Mapping[int, float] = field(default_factory=dict)  # of each that has one; empty: the rewards


def select(
    candidates: Sequence[Candidate],
    n: int,
    selection: Selection = ARGMAX,
    *,
    seed: int = 0,
    reward_std: float = 1.0,
    min_reward: float | None = None,
    whole_only: bool = False,
) -> Choice:
    """The at most `n` best finished candidates.

    Candidates that were cut off come behind all others, and are picked among as these are. Scored candidates come
    before unscored ones; those of equal utility in the order in which they finished, unscored ones by index, since the
    first to finish would be the shortest. Running, aborted and failed candidates are never selected. seed: of the
    draw, where the pick is one. reward_std: by which the checkpoint normalises. min_reward: candidates below it, and
    unscored ones, take no part in the pick. whole_only: nor do those that were cut off.

    Raises ValueError where `selection.heads` compares heads that the candidates do not have.
    """
    finished = [one for one in candidates if one.state == "finished"]
    worth = utilities(finished, selection, reward_std)
    taking_part = finished if min_reward is None else [one for one in finished if _reaches(one, min_reward)]
    standing = sorted(taking_part, key=_standing(worth))
    whole, cut_off = [[one for one in standing if one.cut_off is cut] for cut in (False, True)]
    rankings = [_rank(group, worth, selection, seed) for group in (whole, [] if whole_only else cut_off) if group]
    selected = tuple([one.index for ranking in rankings for one in ranking.order][:n])
    return Choice(selected, rankings[0].weights if rankings else {}, {} if selection.by_reward else worth)


def _rank(group: Sequence[Candidate], worth: Mapping[int, float], selection: Selection, seed: int) -> Ranking:
    taken = {one.index: worth[one.index] for one in group if one.index in worth}
    return selection.pick.rank(group, taken, seed)


def utilities(candidates: Sequence[Candidate], selection: Selection, reward_std: float) -> dict[int, float]:
    """What every candidate is worth, by index: on the scale of `reward`, or what the pick measures in its place.

    A combined worth has who has both its parts. reward_std: by which the checkpoint divides the mean of its heads.
    Raises ValueError where a candidate lacks the rewards of several heads that `selection.heads` compares.
    """
    scored = [one for one in candidates if one.reward is not None]
    if isinstance(selection.pick, Measure):
        return _known(candidates, selection.pick.measure)
    if selection.pick.free and not scored:
        return _known(candidates, lambda one: one.mean_logprob)
    worth = selection.heads.worth(scored, reward_std)
    worth = length_calibrated(scored, worth) if selection.length_calibrated else worth
    if not selection.likelihood_weight:
        return worth
    likelihoods = _known(scored, lambda one: one.mean_logprob)
    return {index: worth[index] + selection.likelihood_weight * value for index, value in likelihoods.items()}


def _known(candidates: Sequence[Candidate], measure: Callable[[Candidate], float | None]) -> dict[int, float]:
    measured = ((one.index, measure(one)) for one in candidates)
    return {index: value for index, value in measured if value is not None and math.isfinite(value)}


def _reaches(candidate: Candidate, min_reward: float) -> bool:
    return candidate.reward is not None and candidate.reward >= min_reward


def _standing(worth: Mapping[int, float]) -> Callable[[Candidate], tuple[bool, float, float]]:
    def key(one: Candidate) -> tuple[bool, float, float]:
        if one.index not in worth:
            return True, 0.0, one.index
        return False, -worth[one.index], math.inf if one.finish_rank is None else one.finish_rank

    return key
