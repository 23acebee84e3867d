"""What candidates are worth without what their length explains."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.rerank.selection import Selection
from service.rerank.selection.choice import utilities
from service.rerank.selection.length import local_regression
from service.rerank.strategies import Candidate

FEW = settings(max_examples=40, deadline=None)


def of_lengths(values: list[float], tokens: list[int]) -> list[Candidate]:
    return [
        Candidate(index, "finished", finish_rank=index, reward=reward, tokens=length)
        for index, (reward, length) in enumerate(zip(values, tokens, strict=True))
    ]


@FEW
@given(
    st.lists(st.integers(1, 500), min_size=4, max_size=24),
    st.floats(-0.1, 0.1),
    st.floats(-3, 3),
)
def test_a_linear_length_bias_goes_and_the_mean_stays(lengths: list[int], slope: float, base: float) -> None:
    biased = [base + slope * length for length in lengths]
    calibrated = utilities(of_lengths(biased, lengths), Selection(length_calibrated=True), 1.0)
    mean = sum(biased) / len(biased)
    assert calibrated == pytest.approx(dict.fromkeys(range(len(lengths)), mean), abs=1e-6)


@FEW
@given(st.lists(st.floats(-3, 3), min_size=1, max_size=12), st.integers(0, 99))
def test_equal_lengths_explain_nothing(rewards: list[float], length: int) -> None:
    calibrated = utilities(of_lengths(rewards, [length] * len(rewards)), Selection(length_calibrated=True), 1.0)
    assert calibrated == pytest.approx(dict(enumerate(rewards)), abs=1e-9)


def test_what_length_does_not_explain_keeps_its_order() -> None:
    random = np.random.default_rng(0)
    merit, lengths = random.normal(size=64), random.integers(20, 400, 64)
    biased = (merit + 0.02 * lengths).tolist()
    calibrated = utilities(of_lengths(biased, lengths.tolist()), Selection(length_calibrated=True), 1.0)
    after = np.array([calibrated[index] for index in range(64)])
    assert np.corrcoef(merit, after)[0, 1] > 0.95
    assert np.corrcoef(merit, biased)[0, 1] < 0.6
    ranks, merit_ranks = (values.argsort().argsort() for values in (after, merit))
    assert np.corrcoef(ranks, merit_ranks)[0, 1] > 0.95


def test_three_candidates_are_too_few_for_a_line() -> None:
    candidates = of_lengths([1.0, 2.0, 3.0], [10, 20, 30])
    assert utilities(candidates, Selection(length_calibrated=True), 1.0) == {0: 1.0, 1: 2.0, 2: 3.0}


def test_local_regression_follows_a_curve_and_is_a_line_for_few() -> None:
    x = np.linspace(0, 1, 60)
    curve = np.sin(3 * x)
    assert np.abs(local_regression(x, curve) - curve).max() < 0.12
    few = np.array([0.0, 1.0, 2.0, 4.0])
    assert local_regression(few, 2 - 3 * few) == pytest.approx(2 - 3 * few)
