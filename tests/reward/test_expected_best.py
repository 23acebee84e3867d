import math
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward.expected_best import best_of_each, best_of_n


def brute_force(scores: list[int], values: list[int], n: int) -> float:
    """The mean, over all subsets of n, of the value of the subset's best; a later sample wins a tie."""
    outcomes = [values[max(subset, key=lambda i: (scores[i], i))] for subset in combinations(range(len(scores)), n)]
    return float(np.mean(outcomes))


@given(scores=st.lists(st.integers(-50, 50), min_size=1, max_size=10, unique=True), data=st.data())
def test_best_of_n_is_the_mean_over_all_subsets(scores: list[int], data: st.DataObject) -> None:
    values = data.draw(st.lists(st.integers(-3, 3), min_size=len(scores), max_size=len(scores)))
    n = data.draw(st.integers(1, len(scores)))
    assert best_of_n(scores, values, n) == pytest.approx(brute_force(scores, values, n), abs=1e-9)


@given(samples=st.lists(st.tuples(st.integers(0, 1), st.integers(-3, 3)), min_size=1, max_size=5), data=st.data())
def test_ties_are_averaged_over_every_order(samples: list[tuple[int, int]], data: st.DataObject) -> None:
    n = data.draw(st.integers(1, len(samples)))
    estimate = best_of_n([s for s, _ in samples], [v for _, v in samples], n)
    orders = [brute_force([s for s, _ in order], [v for _, v in order], n) for order in permutations(samples)]
    assert estimate == pytest.approx(np.mean(orders), abs=1e-9)


def test_best_of_n_stands_large_counts_and_infinite_scores() -> None:
    scores = np.random.default_rng(0).normal(size=5000)
    assert best_of_n(scores.tolist(), scores.tolist(), 2500) == pytest.approx(np.sort(scores)[-2:].mean(), abs=0.5)
    assert best_of_n([-math.inf, 0.0, math.inf], [1, 2, 3], 3) == 3


@pytest.mark.parametrize(("scores", "n"), [([1.0, 2.0], 3), ([1.0], 0), ([], 1), ([math.nan, 1.0], 1)])
def test_best_of_n_refuses(scores: list[float], n: int) -> None:
    with pytest.raises(ValueError, match="best_of_n"):
        best_of_n(scores, scores, n)


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=7), st.data())
def test_the_best_of_n_by_the_values_themselves_is_the_mean_over_all_subsets(
    rewards: list[int], data: st.DataObject
) -> None:
    n = data.draw(st.integers(1, len(rewards)))
    subsets = [max(subset) for subset in combinations(rewards, n)]
    assert best_of_n(rewards, rewards, n) == pytest.approx(sum(subsets) / len(subsets))


def test_best_of_each_is_best_of_n_for_each_size() -> None:
    generator = np.random.default_rng(1)
    scores, values = generator.integers(0, 5, 12), generator.normal(size=12)
    each = best_of_each(scores.tolist(), values, range(1, 13))
    assert each.tolist() == pytest.approx([best_of_n(scores.tolist(), values, n) for n in range(1, 13)])
