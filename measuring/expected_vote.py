"""What a majority vote among n of the samples that are there would have got: exact, over all subsets. Pure numpy."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from measuring.estimators import Floats


def expected_vote(answers: Sequence[str | None], values: ArrayLike, sizes: Sequence[int]) -> Floats:
    """The expected value of a sample with the commonest answer among n drawn from these N, for each n, [sizes].

    Self-consistency (Wang et al. 2023): among equally common answers each is chosen as often, and so is each sample
    that gives the chosen one. A sample without an answer (None) has no vote, and is chosen where no sample has one.

    Exact, without drawing subsets: answer a, given by c of the N samples, wins k votes in the subsets of n whose
    number is the coefficient of x^(n-k) in C(c, k) (1+x)^c0 prod_b sum_j<=k C(c_b, j) x^j, c0 samples having no answer.
    With y at the terms j = k, a tie of t others is counted y^t, and shared as the integral of y^t over 0..1 = 1/(1+t).
    Raises ValueError unless 1 <= n <= N and there is one value for each answer.
    """
    gains, count = np.asarray(values, float), len(answers)
    if not count or len(gains) != count or not all(1 <= n <= count for n in sizes):
        raise ValueError(
            f"expected_vote needs 1 <= n <= N, one value per answer: n={list(sizes)}, {count} answers, {len(gains)} "
            "values"
        )
    votes = Counter(answer for answer in answers if answer is not None)
    silent = count - votes.total()
    worth: dict[int, float] = dict.fromkeys(votes.values(), 0.0)  # of the answers that so many samples give, summed
    for answer, given in votes.items():
        worth[given] += float(np.mean([gain for one, gain in zip(answers, gains, strict=True) if one == answer]))
    subsets = np.array([math.comb(count, n) for n in range(count + 1)], float)
    total = np.zeros(count + 1)
    for given, value in worth.items():
        others = Counter(votes.values())
        others[given] -= 1
        for k in range(1, given + 1):
            ways = math.comb(given, k) * _ways(others, silent, k, count)
            total[k:] += value * ways[: count + 1 - k]
    if silent:
        nobody = np.array([math.comb(silent, n) for n in range(count + 1)], float)
        total += nobody * float(np.mean([gain for one, gain in zip(answers, gains, strict=True) if one is None]))
    expected: Floats = (total / subsets)[list(sizes)]
    return expected


def _ways(others: Counter[int], silent: int, k: int, most: int) -> Floats:
    """Draws of so many samples in which no other answer has more than k, a tie of t others as 1/(1+t), [0 .. most].

    others: how many answers are given by so many samples.
    """
    ties = sum(number for given, number in others.items() if given >= k)
    nodes, weights = np.polynomial.legendre.leggauss(ties // 2 + 1)  # exact up to degree 2 (nodes) - 1 >= ties
    y, weights = (nodes + 1) / 2, weights / 2
    product = np.zeros((len(y), most + 1))
    product[:, : silent + 1] = [math.comb(silent, j) for j in range(silent + 1)]
    for given, number in others.items():
        terms = [math.comb(given, j) * (y if j == k else np.ones_like(y)) for j in range(min(given, k) + 1)]
        for _ in range(number):
            longer = np.zeros_like(product)
            for j, term in enumerate(terms):
                longer[:, j:] += term[:, None] * product[:, : most + 1 - j]
            product = longer
    ways: Floats = weights @ product
    return ways
