"""`worst`: the minimum over heads (worst-case optimisation, Coste et al. 2024, section 3).

Use it where best-of-N must stay safe at large N and the reward model has several heads that learned the same. It has no
knob.
"""

from collections.abc import Sequence
from typing import ClassVar

from service.rerank.selection.heads.base import Heads, of_ensemble
from service.rerank.strategies import Candidate


class Worst(Heads):
    """The lowest of the heads."""

    name: ClassVar[str] = "worst"

    def worth(self, scored: Sequence[Candidate], reward_std: float) -> dict[int, float]:
        return of_ensemble(self, scored, reward_std, lambda heads: heads.min(axis=1))
