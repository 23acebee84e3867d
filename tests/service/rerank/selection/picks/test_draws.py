"""Weights, and drawing by them."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.rerank.selection import Pick, Selection, select
from service.rerank.selection.picks import Pessimistic, Soft
from service.rerank.selection.picks.draws import drawn, softmax
from service.rerank.selection.picks.pessimistic import pessimistic
from tests.service.rerank.selection.crowds import scored

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


def test_softmax_by_hand() -> None:
    assert softmax({0: 0.0, 1: math.log(3)}, 1.0) == pytest.approx({0: 0.25, 1: 0.75})
    assert softmax({0: 0.0, 1: math.log(3)}, 0.5) == pytest.approx({0: 0.1, 1: 0.9})


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


def test_extremes_stay_finite() -> None:
    utilities = {0: 1e300, 1: -1e300, 2: 1e300}
    for weights in (softmax(utilities, 5e-324), pessimistic(utilities, 5e-324)):
        assert math.fsum(weights.values()) == pytest.approx(1.0)
        assert weights[0] == weights[2] == pytest.approx(0.5)


def test_nothing_weighs_nothing() -> None:
    assert softmax({}, 1.0) == pessimistic({}, 1.0) == {}


def test_a_candidates_noise_does_not_depend_on_the_others() -> None:
    few, many = drawn({3: 1.0}, 7), drawn({0: 0.5, 3: 1.0}, 7)
    assert few[3] == many[3]
    assert drawn({0: 0.0, 3: 1.0}, 7).keys() == {3}
    assert drawn({}, 7) == {}


# -- drawing


@pytest.mark.parametrize("pick", [Soft(), Pessimistic(beta=0.2)])
def test_candidates_are_drawn_as_often_as_their_weights_promise(pick: Pick) -> None:
    candidates, selection = scored(0.0, 0.3, 0.5, -2.0), Selection(pick=pick)
    weights = select(candidates, 1, selection).weights
    draws = [select(candidates, 1, selection, seed=seed).selected[0] for seed in range(4000)]
    for index, weight in weights.items():
        assert draws.count(index) / 4000 == pytest.approx(weight, abs=0.03)


def test_a_draw_is_repeated_by_its_seed_and_leaves_candidates_without_weight_for_the_end() -> None:
    candidates, selection = scored(-9.0, 1.0, 1.01, -8.0), Selection(pick=Pessimistic(beta=0.1))
    choices = [select(candidates, 4, selection, seed=seed).selected for seed in range(20)]
    assert choices == [select(candidates, 4, selection, seed=seed).selected for seed in range(20)]
    assert {choice[:2] for choice in choices} == {(1, 2), (2, 1)}
    assert {choice[2:] for choice in choices} == {(3, 0)}


@FEW
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=8, unique=True), st.integers(0, 99))
def test_draws_become_argmax_without_temperature_or_beta(rewards: list[float], seed: int) -> None:
    candidates = scored(*rewards)
    best = select(candidates, 1).selected
    for pick in (Soft(temperature=5e-324), Pessimistic(beta=5e-324)):
        assert select(candidates, 1, Selection(pick=pick), seed=seed).selected == best
