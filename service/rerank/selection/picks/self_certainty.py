"""`self_certainty`: the answer at whose tokens the policy's distributions are farthest from uniform.

Kang et al. 2025, "Scalable Best-of-N Selection for Large Language Models via Self-Certainty", section 3: the mean over
tokens of KL(uniform || p) = -(1/V) sum over the vocabulary of log(V p). It looks at the whole distribution, where
`likelihood` looks at the token that was drawn. From the highest k log-probabilities alone, see `from_top`.
"""

import math
from collections.abc import Sequence
from typing import ClassVar

from service.rerank.selection.picks.base import Measure
from service.rerank.strategies import Candidate
from service.rerank.strategies.base import Quantity

_LEAST_REST = 1e-7  # of a probability: what float32 leaves of 1 less the sum


class SelfCertainty(Measure):
    """The highest self-certainty of the policy."""

    name: ClassVar[str] = "self_certainty"
    reads: ClassVar[frozenset[Quantity]] = frozenset({"self_certainty"})

    def measure(self, candidate: Candidate) -> float | None:
        return candidate.self_certainty


def from_top(logprobs: Sequence[float], vocabulary: int) -> float:
    """KL(uniform || p) in nats of one token, from the log-probabilities of its most likely k.

    The probability that they leave is spread evenly over the others, none of which gets more than the least of the k.
    Exact for k = V; otherwise too small, by (V - k)/V times KL(uniform || p) within those others.
    """
    rest = vocabulary - len(logprobs)
    total = math.fsum(logprobs)
    if rest > 0:
        left = max(1.0 - math.fsum(map(math.exp, logprobs)), _LEAST_REST)
        total += rest * min(math.log(left / rest), min(logprobs, default=0.0))
    return -math.log(vocabulary) - total / vocabulary
