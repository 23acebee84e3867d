"""`soft`: draw an answer with probabilities proportional to exp(worth / temperature).

Soft best-of-N (Verdun et al. 2025, "Soft Best-of-n Sampling for Model Alignment"): use it for varied answers, or to
stay closer to the policy than argmax at the same N.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field

from service.rerank.selection.picks.base import Pick, Ranking
from service.rerank.selection.picks.draws import draw, softmax
from service.rerank.strategies import Candidate


class Soft(Pick):
    """A draw that prefers high rewards."""

    name: ClassVar[str] = "soft"
    draws: ClassVar[bool] = True

    temperature: float = Field(
        default=0.5, gt=0, le=1e6, allow_inf_nan=False, description="The lower, the closer to argmax."
    )

    def rank(self, standing: Sequence[Candidate], worth: Mapping[int, float], seed: int) -> Ranking:
        return draw(standing, softmax(worth, self.temperature), seed)
