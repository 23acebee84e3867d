"""What candidates are worth where heads disagree, or length is rewarded."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.rerank.selection import Selection
from service.rerank.selection.utility import local_regression, utilities
from service.rerank.strategies import Candidate

FEW = settings(max_examples=40, deadline=None)
HEADS = st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=8)
MEAN, STD = 0.5, 2.0


def ensemble(heads: list[tuple[float, ...]]) -> list[Candidate]:
    """Rewards normalised as a checkpoint with mean 0.5 and standard deviation 2 does."""
    return [
        Candidate(
            index,
            "finished",
            finish_rank=index,
            reward=(sum(raw) / len(raw) - MEAN) / STD,
            rewards={f"member-{number}": value for number, value in enumerate(raw)},
        )
        for index, raw in enumerate(heads)
    ]


def of_lengths(values: list[float], tokens: list[int]) -> list[Candidate]:
    return [
        Candidate(index, "finished", finish_rank=index, reward=reward, tokens=length)
        for index, (reward, length) in enumerate(zip(values, tokens, strict=True))
    ]


def test_worst_and_variance_by_hand() -> None:
    candidates = ensemble([(4.0, 2.0), (2.0, 2.0), (0.0, 5.0)])  # centred: (2, -1), (0, -1), (-2, 2), all over 2
    offset = (3 + 2 + 2.5) / 3 / 2 - 0.25
    worst = utilities(candidates, Selection(heads="worst"), STD)
    assert worst == pytest.approx({0: -0.5 + offset, 1: -0.5 + offset, 2: -1.0 + offset})
    varied = utilities(candidates, Selection(heads="variance", variance_weight=2.0), STD)
    assert varied == pytest.approx(
        {0: 0.25 - 2 * 0.5625 + offset, 1: -0.25 - 2 * 0.0625 + offset, 2: 0.0 - 2 * 1.0 + offset}
    )


@FEW
@given(HEADS, st.tuples(st.floats(-5, 5), st.floats(-5, 5), st.floats(-5, 5)))
def test_what_a_head_adds_to_every_answer_of_a_prompt_decides_nothing(
    heads: list[tuple[float, ...]], shifts: tuple[float, ...]
) -> None:
    moved = [tuple(value + shift for value, shift in zip(raw, shifts, strict=True)) for raw in heads]
    for selection in (Selection(heads="worst"), Selection(heads="variance")):
        before, after = (utilities(ensemble(given), selection, STD) for given in (heads, moved))
        added = sum(shifts) / 3 / STD
        assert after == pytest.approx({index: value + added for index, value in before.items()}, abs=1e-9)


@FEW
@given(HEADS)
def test_caution_never_pays_more_than_the_reward_and_nothing_where_heads_agree(heads: list[tuple[float, ...]]) -> None:
    candidates = ensemble(heads)
    rewards = utilities(candidates, Selection(), STD)
    for selection in (Selection(heads="worst"), Selection(heads="variance")):
        assert all(value <= rewards[index] + 1e-9 for index, value in utilities(candidates, selection, STD).items())
        agreed = ensemble([(raw[0], raw[0] + 3, raw[0] - 1) for raw in heads])
        assert utilities(agreed, selection, STD) == pytest.approx(utilities(agreed, Selection(), STD), abs=1e-9)


def test_one_head_cannot_disagree_with_itself() -> None:
    for heads in ([()], [(1.0,)]):
        candidates = [Candidate(0, "finished", reward=1.0, rewards=dict.fromkeys(map(str, raw), 1.0)) for raw in heads]
        with pytest.raises(ValueError, match=r"selection\.heads: worst"):
            utilities(candidates, Selection(heads="worst"), 1.0)


def test_nothing_scored_is_worth_nothing() -> None:
    unscored = [Candidate(0, "finished", unscored=True)]
    for selection in (Selection(), Selection(heads="worst"), Selection(length_calibrated=True)):
        assert utilities(unscored, selection, 1.0) == {}


@FEW
@given(
    st.lists(st.integers(1, 500), min_size=4, max_size=24),
    st.floats(-0.1, 0.1),
    st.floats(-3, 3),
)
def test_a_linear_length_bias_goes_and_the_mean_stays(lengths: list[int], slope: float, base: float) -> None:
    biased = [base + slope * length for length in lengths]
    calibrated = utilities(of_lengths(biased, lengths), Selection(length_calibrated=True), 1.0)
    mean = sum(biased) / len(biased)
    assert calibrated == pytest.approx(dict.fromkeys(range(len(lengths)), mean), abs=1e-6)


@FEW
@given(st.lists(st.floats(-3, 3), min_size=1, max_size=12), st.integers(0, 99))
def test_equal_lengths_explain_nothing(rewards: list[float], length: int) -> None:
    calibrated = utilities(of_lengths(rewards, [length] * len(rewards)), Selection(length_calibrated=True), 1.0)
    assert calibrated == pytest.approx(dict(enumerate(rewards)), abs=1e-9)


def test_what_length_does_not_explain_keeps_its_order() -> None:
    random = np.random.default_rng(0)
    merit, lengths = random.normal(size=64), random.integers(20, 400, 64)
    biased = (merit + 0.02 * lengths).tolist()
    calibrated = utilities(of_lengths(biased, lengths.tolist()), Selection(length_calibrated=True), 1.0)
    after = np.array([calibrated[index] for index in range(64)])
    assert np.corrcoef(merit, after)[0, 1] > 0.95
    assert np.corrcoef(merit, biased)[0, 1] < 0.6
    ranks, merit_ranks = (values.argsort().argsort() for values in (after, merit))
    assert np.corrcoef(ranks, merit_ranks)[0, 1] > 0.95


def test_three_candidates_are_too_few_for_a_line() -> None:
    candidates = of_lengths([1.0, 2.0, 3.0], [10, 20, 30])
    assert utilities(candidates, Selection(length_calibrated=True), 1.0) == {0: 1.0, 1: 2.0, 2: 3.0}


def test_local_regression_follows_a_curve_and_is_a_line_for_few() -> None:
    x = np.linspace(0, 1, 60)
    curve = np.sin(3 * x)
    assert np.abs(local_regression(x, curve) - curve).max() < 0.12
    few = np.array([0.0, 1.0, 2.0, 4.0])
    assert local_regression(few, 2 - 3 * few) == pytest.approx(2 - 3 * few)
