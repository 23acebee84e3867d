"""`argmax`: the candidate of the highest worth. Use it where the reward model is good, or N is small."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from service.rerank.selection.picks.base import Pick, Ranking
from service.rerank.strategies import Candidate


class Argmax(Pick):
    """The highest reward."""

    name: ClassVar[str] = "argmax"

    def rank(self, standing: Sequence[Candidate], worth: Mapping[int, float], seed: int) -> Ranking:
        return Ranking(standing)
