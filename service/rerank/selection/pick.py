"""From utilities to probabilities: what an answer is drawn from, or how much its vote counts."""

import math
import random
from collections.abc import Mapping


def softmax(utilities: Mapping[int, float], temperature: float) -> dict[int, float]:
    """Proportional to exp(utility / temperature); the highest alone as the temperature goes to 0.

    As a draw this is soft best-of-N (Verdun et al. 2025, "Soft Best-of-n Sampling for Model Alignment"): use it for
    varied answers, or to stay closer to the policy than argmax at the same N.
    """
    top = max(utilities.values())
    powers = {index: math.exp((utility - top) / temperature) for index, utility in utilities.items()}
    total = math.fsum(powers.values())
    return {index: power / total for index, power in powers.items()}


def pessimistic(utilities: Mapping[int, float], beta: float) -> dict[int, float]:
    """max(0, utility - lambda) / (beta N), with lambda such that they add up to 1; the highest alone as beta goes to 0.

    Inference-time pessimism (Huang et al. 2025, "Is Best-of-N the Best of Them?", section 4): the best distribution
    under a chi-squared penalty beta for moving away from the policy, here over the N candidates that were sampled, so
    drawn from exactly and not by rejection. Use it where N is large and the reward model is not to be trusted in its
    tail: no answer gets more than a bounded multiple of its probability under the policy, however large N is.
    """
    top = max(utilities.values())
    below = sorted((utility - top for utility in utilities.values()), reverse=True)
    budget = beta * len(below)
    threshold, total = -budget, 0.0
    for count, value in enumerate(below, start=1):
        total += value
        if value <= (total - budget) / count:
            break
        threshold = (total - budget) / count
    excess = {index: max(0.0, utility - top - threshold) for index, utility in utilities.items()}
    mass = math.fsum(excess.values())
    return {index: value / mass for index, value in excess.items()}


def drawn(weights: Mapping[int, float], seed: int) -> dict[int, float]:
    """A key for each candidate of weight above 0; in falling order of it they are drawn without replacement.

    Gumbel top-k (Kool et al. 2019, "Stochastic Beams and Where to Find Them", section 2). A candidate's noise depends
    on the seed and its index only.
    """
    source = random.Random(seed)
    noise = [-math.log(-math.log(source.random() or _TINY)) for _ in range(max(weights, default=-1) + 1)]
    return {index: math.log(weight) + noise[index] for index, weight in weights.items() if weight > 0}


_TINY = 2.0**-54
