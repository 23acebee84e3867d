"""`mean`: the reward itself: the mean of the heads, weighed as the checkpoint or `rerank.reward_weights` does."""

from collections.abc import Sequence
from typing import ClassVar

from service.rerank.selection.heads.base import Heads
from service.rerank.strategies import Candidate


class Mean(Heads):
    """The reward itself."""

    name: ClassVar[str] = "mean"
    compares: ClassVar[bool] = False

    def worth(self, scored: Sequence[Candidate], reward_std: float) -> dict[int, float]:
        return {one.index: one.reward for one in scored if one.reward is not None}
