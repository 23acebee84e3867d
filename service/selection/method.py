"""How to choose among the candidates of one request: the names and knobs of every method."""

from dataclasses import dataclass
from typing import Literal

Heads = Literal["mean", "worst", "variance"]
Pick = Literal["argmax", "soft", "pessimistic", "majority", "weighted_vote"]
Answer = Literal["boxed", "last_number", "last_line", "exact"]


@dataclass(frozen=True)
class Selection:
    """A utility and a pick; what the pick does not read has no effect.

    heads, variance_weight, length_calibrated: see `service.selection.utility`. pick, temperature, beta: see
    `service.selection.pick`. answer: see `service.selection.answers`. temperature, beta and variance_weight are in
    units of the normalised reward, which has standard deviation 1 over the answers that the reward model learned from.
    """

    pick: Pick = "argmax"
    heads: Heads = "mean"
    variance_weight: float = 0.5
    length_calibrated: bool = False
    temperature: float = 0.5
    beta: float = 0.1
    answer: Answer = "last_line"

    @property
    def votes(self) -> bool:
        """Candidates are grouped by their answer."""
        return self.pick in ("majority", "weighted_vote")

    @property
    def draws(self) -> bool:
        """What is returned is drawn at random."""
        return self.pick in ("soft", "pessimistic")

    @property
    def by_reward(self) -> bool:
        """The utility is the reward itself."""
        return self.heads == "mean" and not self.length_calibrated
