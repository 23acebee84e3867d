import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward.bounds import kl_bound_nats, kl_bound_of_response_nats, win_rate_bound


def test_kl_bound_known_values() -> None:
    assert kl_bound_nats(1) == 0
    assert kl_bound_nats(16) == pytest.approx(math.log(16) - 15 / 16)


def test_the_bound_of_a_response_is_the_formula() -> None:
    n, p = 4, 0.3
    missed = (1 - p) ** n
    by_hand = missed * (math.log(n) + (n - 1) * math.log(1 - p) - (n - 1) / n) + (1 - missed) * math.log(
        (1 - missed) / p
    )
    assert kl_bound_of_response_nats(n, p) == pytest.approx(by_hand)
    assert kl_bound_of_response_nats(8, 1e-12) == pytest.approx(kl_bound_nats(8), abs=1e-6)
    assert kl_bound_of_response_nats(8, 1.0) == 0


@given(n=st.integers(1, 300), p=st.floats(1e-9, 1))
def test_the_bound_of_a_response_is_tighter_and_never_negative(n: int, p: float) -> None:
    assert -1e-9 <= kl_bound_of_response_nats(n, p) <= kl_bound_nats(n) + 1e-9


@given(weights=st.lists(st.floats(0.01, 1), min_size=2, max_size=6), n=st.integers(1, 20))
def test_both_bound_the_true_divergence(weights: list[float], n: int) -> None:
    """Of a base over few responses, the last one ranked best, where best-of-n is known exactly."""
    base = np.array(weights) / sum(weights)
    best = np.diff(np.cumsum(base) ** n, prepend=0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        divergence = float(np.nansum(best * np.log(best / base)))
    mean_bound = sum(w * kl_bound_of_response_nats(n, min(1.0, float(p))) for w, p in zip(best, base, strict=True))
    assert divergence <= kl_bound_nats(n) + 1e-9
    assert divergence <= mean_bound + 1e-6


def test_win_rate_bound_is_that_of_an_ideal_reward() -> None:
    draws = np.random.default_rng(0).random((20_000, 4))
    wins = (draws[:, :3].max(axis=1) > draws[:, 3]).mean()
    assert win_rate_bound(3) == 0.75 == pytest.approx(wins, abs=0.01)


@pytest.mark.parametrize(
    "call", [lambda: kl_bound_nats(0), lambda: win_rate_bound(0), lambda: kl_bound_of_response_nats(2, 0.0)]
)
def test_what_has_no_bound_is_refused(call: object) -> None:
    with pytest.raises(ValueError, match="needs"):
        call()  # type: ignore[operator]
