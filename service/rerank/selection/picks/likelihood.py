"""`likelihood`: the answer to which the policy itself gives the highest log-probability.

Best-of-N without a reward model in its plainest form. The mean over tokens is minus the logarithm of the perplexity;
the sum prefers short answers. Use it as the baseline that a reward model has to beat, or where there is none: it is
right where the policy's mistakes are unlikely to it, and wrong where they are its habit.
"""

from typing import ClassVar, Literal

from pydantic import Field

from service.rerank.selection.picks.base import Measure
from service.rerank.strategies import Candidate
from service.rerank.strategies.base import Quantity


class Likelihood(Measure):
    """The highest log-probability under the policy."""

    name: ClassVar[str] = "likelihood"
    reads: ClassVar[frozenset[Quantity]] = frozenset({"logprob"})

    over_tokens: Literal["mean", "sum"] = Field(
        default="mean", description="Of the log-probabilities of an answer's tokens."
    )

    def measure(self, candidate: Candidate) -> float | None:
        return candidate.mean_logprob if self.over_tokens == "mean" else candidate.logprob
