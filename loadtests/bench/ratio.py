"""A line of a benchmark's report: ours over another's, measured in turn, beside a goal."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """Ours over the other's."""

    what: str
    values: Sequence[float]  # one of each round
    goal: float  # a bound on their median
    at_most: bool  # whether it is an upper bound

    def row(self) -> tuple[str, str, str, str, str]:
        """The median with the range of the middle half, the goal, and whether it is met."""
        middle = statistics.median(self.values)
        low, _, high = statistics.quantiles(self.values, n=4)
        met = middle <= self.goal if self.at_most else middle >= self.goal
        sign = "≤" if self.at_most else "≥"
        return self.what, f"{middle:.3f}", f"{low:.3f} - {high:.3f}", f"{sign} {self.goal}", "yes" if met else "no"
