"""Pessimism: no answer far above its probability under the policy."""

import math

import pytest
from hypothesis import given, settings

from service.rerank.selection.picks.pessimistic import pessimistic
from tests.service.rerank.selection.picks.test_draws import KNOB, UTILITIES


@settings(max_examples=60, deadline=None)
@given(UTILITIES, KNOB)
def test_pessimism_fulfils_the_conditions_of_its_optimum(utilities: dict[int, float], beta: float) -> None:
    """Karush-Kuhn-Tucker of max sum(w u) - beta N / 2 sum(w^2) over the simplex: one lambda for the support."""
    weights, scale = pessimistic(utilities, beta), beta * len(utilities)
    assert math.fsum(weights.values()) == pytest.approx(1.0)
    slopes = {index: utility - scale * weights[index] for index, utility in utilities.items()}
    support = [slopes[index] for index, weight in weights.items() if weight > 0]
    assert max(support) == pytest.approx(min(support), abs=1e-6)
    assert all(slope <= min(support) + 1e-6 for slope in slopes.values())


def test_values_by_hand() -> None:
    # lambda = (1 + 0.6 - 3 * 0.2) / 2 = 0.5; w = 0.5 / 0.6, 0.1 / 0.6
    assert pessimistic({0: 1.0, 1: 0.6, 2: 0.0}, 0.2) == pytest.approx({0: 5 / 6, 1: 1 / 6, 2: 0.0})
    assert pessimistic({4: 1.0, 7: 0.0}, 1000.0) == pytest.approx({4: 0.5, 7: 0.5}, abs=1e-3)


def test_one_outlier_among_many_does_not_take_everything() -> None:
    weights = pessimistic({index: float(index == 0) for index in range(64)}, 0.25)  # lambda = (1 - 16) / 64
    assert weights[0] == pytest.approx((1 + 15 / 64) / 16)
    assert weights[1] == pytest.approx(15 / 64 / 16)
