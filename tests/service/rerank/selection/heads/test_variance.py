"""The mean of the heads less their variance."""

import pytest

from service.rerank.selection.heads import Mean, Variance
from tests.service.rerank.selection.heads.test_base import BY_HAND, OFFSET, STD


def test_by_hand() -> None:
    expected = {0: 0.25 - 2 * 0.5625 + OFFSET, 1: -0.25 - 2 * 0.0625 + OFFSET, 2: 0.0 - 2 * 1.0 + OFFSET}
    assert Variance(variance_weight=2.0).worth(BY_HAND, STD) == pytest.approx(expected)


def test_the_less_weight_the_closer_to_the_reward() -> None:
    assert Variance(variance_weight=1e-9).worth(BY_HAND, STD) == pytest.approx(Mean().worth(BY_HAND, STD))
