import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from measuring.estimators import (
    best_of_n_wins,
    bootstrap,
    distinct_n,
    mean_interval,
    pass_at_k,
    percentiles,
    quantile,
    ratio,
    share_closed,
    wilson,
    win_shares,
)


@given(samples=st.integers(1, 10), data=st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_right_one(samples: int, data: st.DataObject) -> None:
    correct, k = data.draw(st.integers(0, samples)), data.draw(st.integers(1, samples))
    outcomes = [min(subset) < correct for subset in combinations(range(samples), k)]
    assert pass_at_k(samples, correct, k) == pytest.approx(np.mean(outcomes))


def test_pass_at_k_refuses_more_than_there_are() -> None:
    with pytest.raises(ValueError, match="pass_at_k"):
        pass_at_k(4, 1, 5)


def test_wilson_known_values() -> None:
    interval = wilson(8, 10)
    assert (interval.low, interval.high) == pytest.approx((0.490162, 0.943318), abs=1e-5)
    assert wilson(0, 10).low == 0.0
    assert wilson(0, 10).high == pytest.approx(0.277533, abs=1e-5)
    with pytest.raises(ValueError, match="wilson"):
        wilson(1, 0)


@given(trials=st.integers(1, 1000), data=st.data())
def test_wilson_holds_the_share_and_stays_a_probability(trials: int, data: st.DataObject) -> None:
    interval = wilson(data.draw(st.integers(0, trials)), trials)
    assert 0 <= interval.low <= interval.value + 1e-12
    assert interval.value - 1e-12 <= interval.high <= 1


@pytest.mark.parametrize(("values", "quantile"), [(2, 12.706), (4, 3.182), (11, 2.228), (31, 2.042), (1001, 1.962)])
def test_few_values_have_a_wide_interval(values: int, quantile: float) -> None:
    numbers = np.arange(values, dtype=float)
    found = mean_interval(numbers.tolist())
    assert found.high - found.value == pytest.approx(quantile * numbers.std(ddof=1) / math.sqrt(values), rel=5e-4)


def test_wins_of_best_of_n_over_another_sample_are_unbiased() -> None:
    generator = np.random.default_rng(0)
    gold = generator.normal(size=(4000, 8))
    found = np.mean([best_of_n_wins(g, g, [1, 2, 4]) for g in gold], axis=0)
    assert found == pytest.approx([1 / 2, 2 / 3, 4 / 5], abs=0.01)  # the best of n beats one more with n / (n + 1)
    assert best_of_n_wins(np.array([0.0, 1, 2, 3]), np.zeros(4), [2]) == pytest.approx(0.5)


def test_mean_interval_and_bootstrap_agree() -> None:
    values = np.random.default_rng(0).normal(1.0, 2.0, 500)
    normal = mean_interval(values.tolist())
    resampled = bootstrap(values[:, None], lambda rows: float(rows.mean()))
    assert (resampled.low, resampled.high) == pytest.approx((normal.low, normal.high), abs=0.03)
    assert mean_interval([1.0]).high == math.inf


def test_share_closed() -> None:
    assert share_closed(0.5, 0.9, 1.0) == pytest.approx(0.8)
    assert math.isnan(share_closed(1.0, 1.0, 1.0))


def test_win_shares_count_every_pair_of_answers() -> None:
    assert win_shares([1, 2], [1, 1, 3]) == pytest.approx((2 / 6, 2 / 6))
    assert win_shares([0.0], [0.0]) == (0.0, 1.0)


def test_distinct_n_is_different_over_all() -> None:
    texts = ["a b a b", "a b"]  # 6 words, 2 different; pairs: ab ba ab, ab
    assert distinct_n(texts, 1) == pytest.approx(2 / 6)
    assert distinct_n(texts, 2) == pytest.approx(2 / 4)
    assert math.isnan(distinct_n(["one", ""], 2))


def test_ratio_weighs_prompts_by_what_they_have() -> None:
    assert ratio(np.array([[1.0, 1.0], [0.0, 3.0]])) == 0.25
    assert math.isnan(ratio(np.zeros((2, 2))))


def test_resamples_without_a_value_are_left_out() -> None:
    rows = np.array([[1.0], [math.nan]])
    interval = bootstrap(rows, lambda sample: float(sample.mean()))
    assert (interval.low, interval.high) == (1.0, 1.0)
    assert all(math.isnan(end) for end in percentiles(np.array([math.nan, math.nan])))


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 2), (0.51, 3), (0.99, 4), (1.0, 4)])
def test_a_quantile_is_a_value_that_was_seen(share: float, value: float) -> None:
    assert quantile([4, 2, 3, 1], share) == value
    assert math.isnan(quantile([], share))
