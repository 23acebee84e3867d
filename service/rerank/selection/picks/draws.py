"""Drawing candidates by weights, for picks that do."""

import math
import random
from collections.abc import Mapping, Sequence

from service.rerank.selection.picks.base import Ranking
from service.rerank.strategies import Candidate

_TINY = 2.0**-54


def softmax(worth: Mapping[int, float], temperature: float) -> dict[int, float]:
    """Proportional to exp(worth / temperature); the highest alone as the temperature goes to 0. Empty for nothing."""
    top = max(worth.values(), default=0.0)
    powers = {index: math.exp((value - top) / temperature) for index, value in worth.items()}
    total = math.fsum(powers.values())
    return {index: power / total for index, power in powers.items()}


def draw(standing: Sequence[Candidate], weights: Mapping[int, float], seed: int) -> Ranking:
    """Candidates as they are drawn without replacement; behind them, as they stand, those of no weight."""
    keys = drawn(weights, seed)
    return Ranking(sorted(standing, key=lambda one: -keys.get(one.index, -math.inf)), weights)


def drawn(weights: Mapping[int, float], seed: int) -> dict[int, float]:
    """A key for each candidate of weight above 0; in falling order of it they are drawn without replacement.

    Gumbel top-k (Kool et al. 2019, "Stochastic Beams and Where to Find Them", section 2). A candidate's noise depends
    on the seed and its index only.
    """
    source = random.Random(seed)
    noise = [-math.log(-math.log(source.random() or _TINY)) for _ in range(max(weights, default=-1) + 1)]
    return {index: math.log(weight) + noise[index] for index, weight in weights.items() if weight > 0}
