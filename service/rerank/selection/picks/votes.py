"""Counting votes for answers, for picks that do."""

import math
from collections.abc import Mapping, Sequence

from service.rerank.selection.answers import Answer, extract
from service.rerank.selection.picks.base import Ranking
from service.rerank.strategies import Candidate


def vote(standing: Sequence[Candidate], votes: Mapping[int, float], answer: Answer) -> Ranking:
    """The best candidate of each answer, the answer of most votes first; then the others as they stand, unscored last.

    votes: of each candidate, by index; it shares its weight, that of its answer, with all who gave it.
    """
    groups: dict[str | int, list[int]] = {}
    for one in standing:
        groups.setdefault(extract(one.text, answer) or one.index, []).append(one.index)
    total = math.fsum(votes.values()) or 1.0
    shares: dict[int, float] = {}
    for members in groups.values():
        shares |= dict.fromkeys(members, math.fsum(votes[index] for index in members) / total)
    leaders = {members[0] for members in groups.values()}

    def key(one: Candidate) -> tuple[bool, bool, float]:
        leads = one.index in leaders
        return one.reward is None, not leads, -shares[one.index] if leads else 0.0

    return Ranking(sorted(standing, key=key), shares)
