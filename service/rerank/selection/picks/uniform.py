"""`random`: any of the answers, drawn evenly by the request's seed. A baseline: one sample, at the price of N."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from service.rerank.selection.picks.base import FreePick, Ranking
from service.rerank.selection.picks.draws import draw
from service.rerank.strategies import Candidate


class Uniform(FreePick):
    """Any of them, drawn evenly."""

    name: ClassVar[str] = "random"
    draws: ClassVar[bool] = True

    def rank(self, standing: Sequence[Candidate], worth: Mapping[int, float], seed: int) -> Ranking:
        return draw(standing, {one.index: 1 / len(standing) for one in standing}, seed)
