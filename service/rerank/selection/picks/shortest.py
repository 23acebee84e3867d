"""`shortest`: the answer of the fewest tokens. A baseline: what a reward model that likes brevity is compared with."""

from typing import ClassVar

from service.rerank.selection.picks.base import Measure
from service.rerank.strategies import Candidate


class Shortest(Measure):
    """The fewest tokens."""

    name: ClassVar[str] = "shortest"

    def measure(self, candidate: Candidate) -> float:
        return -float(candidate.tokens)
