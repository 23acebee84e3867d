"""Probabilities from utilities."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.rerank.selection.pick import drawn, pessimistic, softmax

FEW = settings(max_examples=60, deadline=None)
UTILITIES = st.lists(st.floats(-10, 10), min_size=1, max_size=12).map(lambda values: dict(enumerate(values)))
KNOB = st.floats(0.01, 10)


@FEW
@given(UTILITIES, KNOB)
def test_softmax_has_the_ratios_of_its_definition(utilities: dict[int, float], temperature: float) -> None:
    weights = softmax(utilities, temperature)
    assert math.fsum(weights.values()) == pytest.approx(1.0)
    best = max(utilities, key=lambda index: utilities[index])
    for index, utility in utilities.items():
        assert weights[index] / weights[best] == pytest.approx(math.exp((utility - utilities[best]) / temperature))


@FEW
@given(UTILITIES, KNOB)
def test_pessimism_fulfils_the_conditions_of_its_optimum(utilities: dict[int, float], beta: float) -> None:
    """Karush-Kuhn-Tucker of max sum(w u) - beta N / 2 sum(w^2) over the simplex: one lambda for the support."""
    weights, scale = pessimistic(utilities, beta), beta * len(utilities)
    assert math.fsum(weights.values()) == pytest.approx(1.0)
    slopes = {index: utility - scale * weights[index] for index, utility in utilities.items()}
    support = [slopes[index] for index, weight in weights.items() if weight > 0]
    assert max(support) == pytest.approx(min(support), abs=1e-6)
    assert all(slope <= min(support) + 1e-6 for slope in slopes.values())


@FEW
@given(UTILITIES, KNOB, st.floats(-100, 100))
def test_only_differences_of_utilities_count(utilities: dict[int, float], knob: float, shift: float) -> None:
    moved = {index: utility + shift for index, utility in utilities.items()}
    assert softmax(moved, knob) == pytest.approx(softmax(utilities, knob), abs=1e-9)
    assert pessimistic(moved, knob) == pytest.approx(pessimistic(utilities, knob), abs=1e-9)


@FEW
@given(UTILITIES, KNOB)
def test_a_higher_utility_never_has_less_weight(utilities: dict[int, float], knob: float) -> None:
    for weights in (softmax(utilities, knob), pessimistic(utilities, knob)):
        inorder = [weights[index] for index in sorted(utilities, key=lambda index: utilities[index])]
        assert inorder == sorted(inorder)


def test_values_by_hand() -> None:
    assert softmax({0: 0.0, 1: math.log(3)}, 1.0) == pytest.approx({0: 0.25, 1: 0.75})
    assert softmax({0: 0.0, 1: math.log(3)}, 0.5) == pytest.approx({0: 0.1, 1: 0.9})
    # lambda = (1 + 0.6 - 3 * 0.2) / 2 = 0.5; w = 0.5 / 0.6, 0.1 / 0.6
    assert pessimistic({0: 1.0, 1: 0.6, 2: 0.0}, 0.2) == pytest.approx({0: 5 / 6, 1: 1 / 6, 2: 0.0})
    assert pessimistic({4: 1.0, 7: 0.0}, 1000.0) == pytest.approx({4: 0.5, 7: 0.5}, abs=1e-3)


def test_one_outlier_among_many_does_not_take_everything() -> None:
    weights = pessimistic({index: float(index == 0) for index in range(64)}, 0.25)  # lambda = (1 - 16) / 64
    assert weights[0] == pytest.approx((1 + 15 / 64) / 16)
    assert weights[1] == pytest.approx(15 / 64 / 16)


def test_extremes_stay_finite() -> None:
    utilities = {0: 1e300, 1: -1e300, 2: 1e300}
    for weights in (softmax(utilities, 5e-324), pessimistic(utilities, 5e-324)):
        assert math.fsum(weights.values()) == pytest.approx(1.0)
        assert weights[0] == weights[2] == pytest.approx(0.5)


def test_a_candidates_noise_does_not_depend_on_the_others() -> None:
    few, many = drawn({3: 1.0}, 7), drawn({0: 0.5, 3: 1.0}, 7)
    assert few[3] == many[3]
    assert drawn({0: 0.0, 3: 1.0}, 7).keys() == {3}
    assert drawn({}, 7) == {}
