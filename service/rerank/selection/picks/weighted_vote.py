"""`weighted_vote`: the answer whose candidates are worth most together, by its best candidate.

A vote counts as much as its candidate's share of softmax(worth / temperature), since rewards may be negative (Li et al.
2023, "Making Language Models Better Reasoners with Step-Aware Verifier", section 3; "best-of-N weighted" in Snell et
al. 2024, section 5.1). Use it where answers can be compared and the reward model knows something: one answer that fools
it is outvoted. Where no candidate has a reward, every one has one vote.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field

from service.rerank.selection.answers import Answer
from service.rerank.selection.picks.base import Pick, Ranking
from service.rerank.selection.picks.draws import softmax
from service.rerank.selection.picks.votes import vote
from service.rerank.strategies import Candidate


class WeightedVote(Pick):
    """The answer whose candidates have most reward together."""

    name: ClassVar[str] = "weighted_vote"
    votes: ClassVar[bool] = True

    temperature: float = Field(
        default=0.5,
        gt=0,
        le=1e6,
        allow_inf_nan=False,
        description="The lower, the more the best candidate decides alone.",
    )
    answer: Answer = Field(default="last_line", description="What of a text is its answer.")

    def rank(self, standing: Sequence[Candidate], worth: Mapping[int, float], seed: int) -> Ranking:
        weights = softmax(worth, self.temperature) or {one.index: 1.0 for one in standing}
        return vote(standing, {one.index: weights.get(one.index, 0.0) for one in standing}, self.answer)
