"""What a load costs."""

import pytest

from training.experiments.compare.load import cells


def test_the_repeats_of_a_cell_belong_together() -> None:
    visit = {"best_of": 2, "clients": 1, "tokens": [10, 20], "straggler_share": 0.1}
    visits = [
        visit | {"latencies_s": [1.0, 3.0], "per_second": 1.0, "dollars": [0.1, 0.3]},
        visit | {"latencies_s": [2.0, 2.0], "per_second": 3.0, "dollars": [0.2, 0.2]},
        visit | {"best_of": 1, "latencies_s": [1.0], "per_second": 1.0, "dollars": [0.1]},
    ]
    one, two = cells("SFT", {"visits": visits})
    assert (one.best_of, two.best_of) == (1, 2)
    assert (two.per_second.value, two.tokens, two.dollars.value) == pytest.approx((2.0, 15.0, 0.2))
    assert two.latency_s[0.5].value == 2.0
