"""From how many requests on a trained policy is cheaper."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.experiments.compare.break_even import Bill, break_even, compare, equal_n, price_at, sentence

SIZES = (1, 2, 4, 8)


RISING = np.array([0.5, 0.7, 0.8, 0.9])


PRICES = (1.0, 2.0, 3.0, 5.0)


@pytest.mark.parametrize(
    ("gold", "n"), [(0.4, 1.0), (0.5, 1.0), (0.6, math.sqrt(2)), (0.7, 2.0), (0.85, 4 * math.sqrt(2)), (0.9, 8.0)]
)
def test_equal_quality_is_found_between_the_sizes(gold: float, n: float) -> None:
    assert equal_n(gold, RISING, SIZES) == pytest.approx(n)


def test_no_n_reaches_what_is_better_than_all() -> None:
    assert equal_n(0.91, RISING, SIZES) == math.inf
    assert price_at(math.inf, SIZES, PRICES) == math.inf


def test_the_price_of_a_fraction_of_a_candidate_lies_between() -> None:
    assert [price_at(n, SIZES, PRICES) for n in (1.0, 3.0, 6.0)] == [1.0, 2.5, 4.0]


DOLLARS = st.floats(0, 1e4)


@given(DOLLARS, DOLLARS, st.floats(1e-3, 10), st.floats(1e-3, 10), st.floats(0.1, 36))
def test_the_verdict_says_who_is_cheaper_on_either_side(
    ours: float, theirs: float, our_request: float, their_request: float, months: float
) -> None:
    policy, best_of_n = Bill(ours, our_request), Bill(theirs, their_request)
    verdict, even = compare(policy, best_of_n, months)
    few, many = (even / 2, 2 * even) if verdict in ("from", "up_to") else (1.0, 1e6)
    lead = [
        float(best_of_n.monthly(np.array([n]), months)[0] - policy.monthly(np.array([n]), months)[0])
        for n in (few, many)
    ]
    scale = 1e-9 * (ours + theirs + 1e7)
    assert {
        "from": lead[0] <= scale and lead[1] >= -scale,
        "up_to": lead[0] >= -scale and lead[1] <= scale,
        "always": min(lead) >= -scale,
        "never": max(lead) <= scale,
    }[verdict]


@pytest.mark.parametrize(
    ("policy", "best_of_n", "expected"),
    [
        (Bill(3, 1), Bill(1, 2), ("from", 2.0)),
        (Bill(1, 2), Bill(3, 1), ("up_to", 2.0)),
        (Bill(1, 1), Bill(2, 2), ("always", 0.0)),
        (Bill(3, 2), Bill(2, 2), ("never", math.inf)),
        (Bill(2, 2), Bill(2, 2), ("never", math.inf)),
        (Bill(3, 2), Bill(2, math.inf), ("always", 0.0)),
    ],
)
def test_verdicts(policy: Bill, best_of_n: Bill, expected: Any) -> None:
    assert compare(policy, best_of_n, 1.0) == expected


def found(gold: float, training: float = 30.0, request: float = 1.0) -> Any:
    prompts = np.random.default_rng(0)
    spread = prompts.normal(0, 0.01, (200, 1))
    return break_even(
        "DPO",
        gold=gold + spread[:, 0],
        curve=RISING + spread,
        sizes=SIZES,
        training=(training, 10.0),
        dollars=np.array([request]),
        curve_dollars=[np.array([price]) for price in PRICES],
        months=2.0,
    )


def test_prices_that_vary_widen_the_interval() -> None:
    prompts = np.full(50, 0.8)
    one = break_even(
        "DPO",
        gold=prompts,
        curve=np.tile(RISING, (50, 1)),
        sizes=SIZES,
        training=(30.0, 10.0),
        dollars=np.array([0.5, 1.5]),
        curve_dollars=[np.array([price - 0.2, price + 0.2]) for price in PRICES],
        months=1.0,
    )
    assert one.requests.value == pytest.approx(10.0)
    assert one.requests.low < one.requests.value < one.requests.high


def test_break_even_over_prompts_has_an_interval_around_it() -> None:
    one = found(0.8)
    assert one.n.value == pytest.approx(4.0)
    assert one.requests.value == pytest.approx(20 / 2 / 2)
    assert one.n.low <= one.n.value <= one.n.high
    assert one.requests.low <= one.requests.value <= one.requests.high


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (found(0.8), "From 5 [5, 5] requests a month on, DPO is cheaper than best-of-4.0 [4, 4] of SFT"),
        (found(0.99), "which best-of-N of SFT does not reach up to N = 8"),
        (found(0.8, training=5.0), "from the first request on"),
        (found(0.8, request=9.0), "DPO is never cheaper"),
        (found(0.8, training=5.0, request=4.0), "Up to 2.5 [2.5, 2.5] requests a month, DPO is cheaper"),
        (found(0.4), "its training has bought nothing"),
    ],
)
def test_the_sentence_says_what_was_found(one: Any, words: str) -> None:
    assert words in sentence(one, "SFT")
