"""The lowest of the heads."""

import pytest

from service.rerank.selection.heads import Worst
from tests.service.rerank.selection.heads.test_base import BY_HAND, OFFSET, STD


def test_by_hand() -> None:
    expected = {0: -0.5 + OFFSET, 1: -0.5 + OFFSET, 2: -1.0 + OFFSET}
    assert Worst().worth(BY_HAND, STD) == pytest.approx(expected)
