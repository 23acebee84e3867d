"""How to choose among the candidates of one request: the names and knobs of every method."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Heads = Literal["mean", "worst", "variance"]
Pick = Literal["argmax", "soft", "pessimistic", "majority", "weighted_vote"]
Answer = Literal["boxed", "last_number", "last_line", "exact"]

# Which knob is read by which picks, or which utilities.
READ_BY: Mapping[str, tuple[Literal["heads", "pick"], tuple[str, ...]]] = {
    "variance_weight": ("heads", ("variance",)),
    "temperature": ("pick", ("soft", "weighted_vote")),
    "beta": ("pick", ("pessimistic",)),
    "answer": ("pick", ("majority", "weighted_vote")),
}


@dataclass(frozen=True)
class Selection:
    """A utility and a pick; what the pick does not read has no effect.

    heads, variance_weight, length_calibrated: see `.utility`. pick, temperature, beta: see `.pick`. answer: see
    `.answers`. temperature, beta and variance_weight are in units of the normalised reward, which has standard
    deviation 1 over the answers that the reward model learned from.
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

    def described(self) -> dict[str, Any]:
        """What it is: the pick, the knobs that are read, and what changes the utility."""
        said: dict[str, Any] = {"pick": self.pick}
        if self.heads != "mean":
            said["heads"] = self.heads
        if self.length_calibrated:
            said["length_calibrated"] = True
        reads = {name: getattr(self, reader) in kinds for name, (reader, kinds) in READ_BY.items()}
        return said | {name: getattr(self, name) for name, read in reads.items() if read}


ARGMAX = Selection()
