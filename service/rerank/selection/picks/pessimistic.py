"""`pessimistic`: draw an answer, none of which gets more than a bounded multiple of its probability under the policy.

Inference-time pessimism (Huang et al. 2025, "Is Best-of-N the Best of Them?", section 4): the best distribution under a
chi-squared penalty beta for moving away from the policy, here over the N candidates that were sampled, so drawn from
exactly and not by rejection. Use it where N is large and the reward model is not to be trusted in its tail: the bound
holds however large N is.
"""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field

from service.rerank.selection.picks.base import Pick, Ranking
from service.rerank.selection.picks.draws import draw
from service.rerank.strategies import Candidate


class Pessimistic(Pick):
    """A draw that never trusts the highest reward alone."""

    name: ClassVar[str] = "pessimistic"
    draws: ClassVar[bool] = True

    beta: float = Field(
        default=0.1,
        gt=0,
        le=1e6,
        allow_inf_nan=False,
        description="The higher, the closer to the policy; the lower, to argmax.",
    )

    def rank(self, standing: Sequence[Candidate], worth: Mapping[int, float], seed: int) -> Ranking:
        return draw(standing, pessimistic(worth, self.beta), seed)


def pessimistic(worth: Mapping[int, float], beta: float) -> dict[int, float]:
    """max(0, worth - lambda) / (beta N), with lambda such that they add up to 1; the highest alone as beta goes to 0.

    Empty for nothing.
    """
    top = max(worth.values(), default=0.0)
    below = sorted((value - top for value in worth.values()), reverse=True)
    budget = beta * len(below)
    threshold, total = -budget, 0.0
    for count, value in enumerate(below, start=1):
        total += value
        if value <= (total - budget) / count:
            break
        threshold = (total - budget) / count
    excess = {index: max(0.0, value - top - threshold) for index, value in worth.items()}
    mass = math.fsum(excess.values())
    return {index: value / mass for index, value in excess.items()}
