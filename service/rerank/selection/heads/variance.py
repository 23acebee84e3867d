"""`variance`: the mean of the heads less their variance (uncertainty-weighted optimisation).

Coste et al. 2024, section 3. Use it where `worst` would do; it is milder.
"""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from service.rerank.selection.heads.base import Heads, of_ensemble
from service.rerank.strategies import Candidate


class Variance(Heads):
    """Their mean less a share of their variance."""

    name: ClassVar[str] = "variance"

    variance_weight: float = Field(
        default=0.5,
        gt=0,
        le=1e6,
        allow_inf_nan=False,
        description="How much of the heads' population variance to take off.",
    )

    def worth(self, scored: Sequence[Candidate], reward_std: float) -> dict[int, float]:
        return of_ensemble(
            self, scored, reward_std, lambda heads: heads.mean(axis=1) - self.variance_weight * heads.var(axis=1)
        )
