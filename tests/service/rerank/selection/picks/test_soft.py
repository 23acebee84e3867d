"""A draw by softmax."""

import math

import pytest

from service.rerank.selection.picks import Soft
from tests.service.rerank.selection.crowds import scored


def test_weights_are_those_of_the_temperature_and_the_order_is_the_seeds() -> None:
    standing, worth = scored(math.log(3), 0.0), {0: math.log(3), 1: 0.0}
    assert Soft(temperature=1.0).rank(standing, worth, seed=0).weights == pytest.approx({0: 0.75, 1: 0.25})
    assert Soft(temperature=0.5).rank(standing, worth, seed=0).weights == pytest.approx({0: 0.9, 1: 0.1})
    first = [Soft(temperature=1.0).rank(standing, worth, seed=seed).order[0].index for seed in range(40)]
    assert set(first) == {0, 1}
