"""`majority`: the answer that most candidates give, by its best candidate.

Self-consistency (Wang et al. 2023, section 2): every finished candidate has one vote, scored or not. Use it where
answers can be compared and the reward model is weak, or there is none: then equal votes go to the higher mean
log-probability.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field

from service.rerank.selection.answers import Answer
from service.rerank.selection.picks.base import Pick, Ranking
from service.rerank.selection.picks.votes import vote
from service.rerank.strategies import Candidate


class Majority(Pick):
    """The answer that most candidates give."""

    name: ClassVar[str] = "majority"
    free: ClassVar[bool] = True
    votes: ClassVar[bool] = True

    answer: Answer = Field(default="last_line", description="What of a text is its answer.")

    def rank(self, standing: Sequence[Candidate], worth: Mapping[int, float], seed: int) -> Ranking:
        return vote(standing, {one.index: 1.0 for one in standing}, self.answer)
