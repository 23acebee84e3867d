"""Quality at every N."""

import math

import pytest

from training.experiments.compare.quality import Pool


def test_quality_at_every_n_comes_from_one_pool() -> None:
    values = {
        "texts": [["a b", "c d"], ["e f", "c d"]],
        "proxy": [[0.0, 1.0], [2.0, 1.0]],
        "gold": [[0.0, 1.0], [0.0, 1.0]],
        "tokens": [[2, 4], [6, 8]],
        "log_ratio": [[0.1, 0.2], [0.3, 0.4]],
    }
    one, two = Pool.of("PPO", values).rows([1, 2])
    assert (one.gold.value, two.gold.value) == (0.5, 0.5)
    assert (one.proxy.value, two.proxy.value) == pytest.approx((1.0, 1.5))
    assert (one.tokens.value, two.tokens.value) == pytest.approx((5.0, 5.0))
    assert one.kl.value == pytest.approx(0.25)
    assert two.kl.value == pytest.approx(0.25 + math.log(2) - 0.5)
    assert (one.distinct, two.distinct) == (1.0, 1.0)
