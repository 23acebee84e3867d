"""What a pick is: from the candidates as they stand to the order in which they are returned."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from service.rerank.strategies import Candidate
from service.rerank.strategies.base import Quantity
from service.rerank.variants import Variant


@dataclass(frozen=True)
class Ranking:
    """What a pick made of the candidates."""

    order: Sequence[Candidate]  # best first
    weights: Mapping[int, float] = field(default_factory=dict)  # see `Choice.weights`


class Pick(Variant, ABC):
    """How to choose among candidates whose worth is known: their reward, or what the engine itself knows of them.

    Knobs are in units of the normalised reward, which has standard deviation 1 over the answers that the reward model
    learned from.
    """

    free: ClassVar[bool] = False  # it is as good without a reward model
    reads_reward: ClassVar[bool] = True  # the reward model is asked, where there is one
    reads: ClassVar[frozenset[Quantity]] = frozenset()  # what the engine has to report of each candidate
    votes: ClassVar[bool] = False  # answers have votes, so that it needs no rewards
    draws: ClassVar[bool] = False  # what is returned is drawn at random, with the probabilities in `Ranking.weights`

    @abstractmethod
    def rank(self, standing: Sequence[Candidate], worth: Mapping[int, float], seed: int) -> Ranking:
        """Every one of `standing` in its place.

        standing: who takes part, those of the highest worth first, unscored ones last, by
        index. worth: of each scored one, by index. seed: of a draw.
        """


class FreePick(Pick):
    """A pick that never asks the reward model."""

    free: ClassVar[bool] = True
    reads_reward: ClassVar[bool] = False


class Measure(FreePick):
    """The candidate of which something is largest that the engine knows of it."""

    @abstractmethod
    def measure(self, candidate: Candidate) -> float | None:
        """What stands in the place of its reward; None where it is not known."""

    def rank(self, standing: Sequence[Candidate], worth: Mapping[int, float], seed: int) -> Ranking:
        return Ranking(standing)
