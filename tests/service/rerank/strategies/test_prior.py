"""What the rewards so far say of a prompt, and what another candidate is expected to add."""

import math
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.rerank.strategies.prior import NORMAL_KINDS, Prior

EASY_AND_HARD = Prior(
    values=(0.0, 1.0, 3.0), edges=(0.5, 2.0), weights=(0.25, 0.75), shares=((0.1, 0.2, 0.7), (0.8, 0.15, 0.05))
)


@st.composite
def priors(draw: st.DrawFn) -> Prior:
    bins, kinds = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    values = tuple(sorted(draw(st.lists(st.integers(-9, 9), min_size=bins, max_size=bins, unique=True))))
    odds = st.lists(st.integers(1, 9), min_size=bins, max_size=bins)
    rows = [draw(odds) for _ in range(kinds)]
    shares = tuple(tuple(value / sum(row) for value in row) for row in rows)
    middles = tuple((low + high) / 2 for low, high in pairwise(values))
    return Prior(tuple(map(float, values)), middles, (1 / kinds,) * kinds, shares)


def brute_force(prior: Prior, rewards: list[float], most: int) -> list[float]:
    """Over every sequence of bins that `most` more candidates could have."""
    gains = [0.0] * most
    for weight, row in zip(prior.posterior(rewards), prior.shares, strict=True):
        for drawn in product(range(len(row)), repeat=most):
            chance, best = weight * math.prod(row[index] for index in drawn), max(rewards)
            for k, index in enumerate(drawn):
                gains[k] += chance * max(0.0, prior.values[index] - best)
                best = max(best, prior.values[index])
    return gains


@settings(max_examples=80, deadline=None)
@given(priors(), st.lists(st.floats(-10, 10), min_size=1, max_size=5), st.integers(1, 4))
def test_gains_are_those_of_brute_force_and_fall(prior: Prior, rewards: list[float], most: int) -> None:
    gains = prior.gains(rewards, most)
    assert gains == pytest.approx(brute_force(prior, rewards, most), abs=1e-9)
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(gains))
    assert min(gains) >= 0


@given(priors(), st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=40))
def test_the_posterior_sums_to_one(prior: Prior, rewards: list[float]) -> None:
    posterior = prior.posterior(rewards)
    assert sum(posterior) == pytest.approx(1)
    assert min(posterior) >= 0


def test_gains_are_those_of_monte_carlo() -> None:
    draw = np.random.default_rng(0)
    rewards, most, runs = [0.3, -0.4], 4, 40_000
    kinds = draw.choice(len(NORMAL_KINDS.weights), runs, p=NORMAL_KINDS.posterior(rewards))
    up_to = np.cumsum(NORMAL_KINDS.shares, axis=1)[kinds]
    bins = (draw.random((runs, most))[:, :, None] > up_to[:, None, :]).sum(axis=2)
    values = np.array(NORMAL_KINDS.values)[np.minimum(bins, len(NORMAL_KINDS.values) - 1)]
    best = np.maximum.accumulate(np.column_stack([np.full(runs, max(rewards)), values]), axis=1)
    assert NORMAL_KINDS.gains(rewards, most) == pytest.approx(np.diff(best, axis=1).mean(axis=0), abs=0.01)


def test_the_posterior_is_bayes_rule() -> None:
    easy, hard = 0.25 * 0.7 * 0.1, 0.75 * 0.05 * 0.8
    assert EASY_AND_HARD.posterior([3.0, 0.0]) == pytest.approx([easy / (easy + hard), hard / (easy + hard)])
    assert EASY_AND_HARD.posterior([]) == pytest.approx([0.25, 0.75])


def test_an_edge_belongs_to_the_bin_above_it() -> None:
    assert EASY_AND_HARD.posterior([2.0]) == EASY_AND_HARD.posterior([3.0])
    assert EASY_AND_HARD.posterior([1.99]) == EASY_AND_HARD.posterior([1.0])


def test_more_evidence_than_a_float_can_multiply_is_no_trouble() -> None:
    assert EASY_AND_HARD.posterior([3.0] * 2000) == pytest.approx([1, 0])


def test_what_a_kind_never_does_does_not_stop_the_search() -> None:
    never = Prior((0.0, 1.0), (0.5,), (0.5, 0.5), ((1.0, 0.0), (0.9, 0.1)))
    assert never.posterior([1.0]) == pytest.approx([0, 1], abs=1e-9)


def test_without_a_reward_there_is_no_best_to_beat() -> None:
    with pytest.raises(ValueError, match="max"):
        NORMAL_KINDS.gains([], 1)


def test_low_rewards_far_apart_leave_more_to_find_than_high_ones() -> None:
    assert NORMAL_KINDS.gains([-1.5, 0.5], 1)[0] > NORMAL_KINDS.gains([1.2, 1.3], 1)[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"edges": (0.5,)}, "edges"),
        ({"shares": ((0.5, 0.5), (0.5, 0.5))}, "share for each value"),
        ({"shares": ()}, "share for each value"),
        ({"values": ()}, "share for each value"),
        ({"values": (0.0, 0.0, 3.0)}, "rise"),
        ({"values": (0.0, math.nan, 3.0)}, "finite"),
        ({"edges": (0.5, math.inf)}, "finite"),
        ({"edges": (2.0, 0.5)}, "rise"),
        ({"weights": (0.5, 0.6)}, "sum to 1"),
        ({"weights": (-0.5, 1.5)}, "positive"),
        ({"weights": (math.nan, 1.0)}, "sum to 1"),
        ({"weights": (1.0,)}, "weights"),
        ({"shares": ((0.1, 0.2, 0.6), (0.8, 0.15, 0.05))}, "sum to 1"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict[str, tuple[float, ...]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Prior(**(vars(EASY_AND_HARD) | changes))
