"""The pick: candidates in the order in which they are returned, and what it was based on."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from service.rerank.selection.answers import extract
from service.rerank.selection.method import ARGMAX, Selection
from service.rerank.selection.pick import drawn, pessimistic, softmax
from service.rerank.selection.utility import utilities
from service.rerank.strategies import Candidate


@dataclass(frozen=True)
class Choice:
    """selected: indices of the candidates to return, best first.

    weights: of each candidate that took part, its probability of being drawn first, or its answer's share of the
    votes; empty for argmax. utilities: of each scored candidate; empty where they are the rewards.
    """

    selected: tuple[int, ...]
    weights: Mapping[int, float] = field(default_factory=dict)
    utilities: Mapping[int, float] = field(default_factory=dict)


def select(
    candidates: Sequence[Candidate],
    n: int,
    selection: Selection = ARGMAX,
    *,
    seed: int = 0,
    reward_std: float = 1.0,
    min_reward: float | None = None,
) -> Choice:
    """The at most `n` best finished candidates.

    Scored candidates come before unscored ones; equal utilities, and unscored candidates among themselves, in the
    order in which they finished. Running, aborted and failed candidates are never selected. seed: of the draw, where
    the pick is one. reward_std: by which the checkpoint normalises. min_reward: candidates below it, and unscored
    ones, take no part in the pick.

    Raises ValueError where `selection.heads` compares heads that the candidates do not have.
    """
    finished = [one for one in candidates if one.state == "finished"]
    worth = {} if selection.by_reward else utilities(finished, selection, reward_std)
    taking_part = finished if min_reward is None else [one for one in finished if _reaches(one, min_reward)]
    standing = sorted(taking_part, key=_standing(worth))
    if selection.votes:
        order, weights = _voted(standing, worth, selection)
    elif selection.draws:
        order, weights = _drawn(standing, worth, selection, seed)
    else:
        order, weights = standing, {}
    return Choice(tuple([one.index for one in order[:n]]), weights, worth)


def _reaches(candidate: Candidate, min_reward: float) -> bool:
    return candidate.reward is not None and candidate.reward >= min_reward


def _standing(worth: Mapping[int, float]) -> Callable[[Candidate], tuple[bool, float, float]]:
    def key(one: Candidate) -> tuple[bool, float, float]:
        unscored = one.reward is None
        rank = math.inf if one.finish_rank is None else one.finish_rank
        return unscored, 0.0 if one.reward is None else -worth.get(one.index, one.reward), rank

    return key


def _scored(standing: Sequence[Candidate], worth: Mapping[int, float]) -> dict[int, float]:
    """The utility of every scored candidate; without `worth`, its reward."""
    return {one.index: worth.get(one.index, one.reward) for one in standing if one.reward is not None}


def _drawn(
    standing: Sequence[Candidate], worth: Mapping[int, float], selection: Selection, seed: int
) -> tuple[Sequence[Candidate], Mapping[int, float]]:
    """Scored candidates as they are drawn without replacement, those of no weight behind them; then the unscored."""
    scored = _scored(standing, worth)
    if not scored:
        return standing, {}
    soft = selection.pick == "soft"
    weights = softmax(scored, selection.temperature) if soft else pessimistic(scored, selection.beta)
    keys = drawn(weights, seed)
    return sorted(standing, key=lambda one: -keys.get(one.index, -math.inf)), weights


def _voted(
    standing: Sequence[Candidate], worth: Mapping[int, float], selection: Selection
) -> tuple[Sequence[Candidate], Mapping[int, float]]:
    """The best candidate of each answer, the answer of most votes first; then the others as they stand.

    majority: every finished candidate has one vote, scored or not (self-consistency, Wang et al. 2023, section 2). Use
    it where answers can be compared and the reward model is weak. weighted_vote: a candidate's vote counts as much as
    its share of softmax(utility / temperature), since rewards may be negative (Li et al. 2023, "Making Language Models
    Better Reasoners with Step-Aware Verifier", section 3; "best-of-N weighted" in Snell et al. 2024, section 5.1). Use
    it where answers can be compared and the reward model says something: one answer that fools it is outvoted.
    """
    groups: dict[str | int, list[int]] = {}
    for one in standing:
        groups.setdefault(extract(one.text, selection.answer) or one.index, []).append(one.index)
    votes = _votes(standing, worth, selection)
    total = math.fsum(votes.values()) or 1.0
    shares: dict[int, float] = {}
    for members in groups.values():
        shares |= dict.fromkeys(members, math.fsum(votes[index] for index in members) / total)
    leaders = {members[0] for members in groups.values()}

    def key(one: Candidate) -> tuple[bool, bool, float]:
        leads = one.index in leaders
        return one.reward is None, not leads, -shares[one.index] if leads else 0.0

    return sorted(standing, key=key), shares


def _votes(standing: Sequence[Candidate], worth: Mapping[int, float], selection: Selection) -> Mapping[int, float]:
    if selection.pick == "majority":
        return {one.index: 1.0 for one in standing}
    scored = _scored(standing, worth)
    weights = softmax(scored, selection.temperature) if scored else {}
    return {one.index: weights.get(one.index, 0.0) for one in standing}
