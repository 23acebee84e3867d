"""What candidates are worth where the heads of an ensemble disagree."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.rerank.selection import Selection
from service.rerank.selection.choice import utilities
from service.rerank.selection.heads import Variance, Worst
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


# Centred: (2, -1), (0, -1), (-2, 2); over the standard deviation of 2: (1, -.5), (0, -.5), (-1, 1).
BY_HAND = ensemble([(4.0, 2.0), (2.0, 2.0), (0.0, 5.0)])
OFFSET = (3 + 2 + 2.5) / 3 / 2 - 0.25


@FEW
@given(HEADS, st.tuples(st.floats(-5, 5), st.floats(-5, 5), st.floats(-5, 5)))
def test_what_a_head_adds_to_every_answer_of_a_prompt_decides_nothing(
    heads: list[tuple[float, ...]], shifts: tuple[float, ...]
) -> None:
    moved = [tuple(value + shift for value, shift in zip(raw, shifts, strict=True)) for raw in heads]
    for selection in (Selection(heads=Worst()), Selection(heads=Variance())):
        before, after = (utilities(ensemble(given), selection, STD) for given in (heads, moved))
        added = sum(shifts) / 3 / STD
        assert after == pytest.approx({index: value + added for index, value in before.items()}, abs=1e-9)


@FEW
@given(HEADS)
def test_caution_never_pays_more_than_the_reward_and_nothing_where_heads_agree(heads: list[tuple[float, ...]]) -> None:
    candidates = ensemble(heads)
    rewards = utilities(candidates, Selection(), STD)
    for selection in (Selection(heads=Worst()), Selection(heads=Variance())):
        assert all(value <= rewards[index] + 1e-9 for index, value in utilities(candidates, selection, STD).items())
        agreed = ensemble([(raw[0], raw[0] + 3, raw[0] - 1) for raw in heads])
        assert utilities(agreed, selection, STD) == pytest.approx(utilities(agreed, Selection(), STD), abs=1e-9)


def test_one_head_cannot_disagree_with_itself() -> None:
    for heads in ([()], [(1.0,)]):
        candidates = [Candidate(0, "finished", reward=1.0, rewards=dict.fromkeys(map(str, raw), 1.0)) for raw in heads]
        with pytest.raises(ValueError, match=r"selection\.heads: worst"):
            utilities(candidates, Selection(heads=Worst()), 1.0)


def test_nothing_scored_is_worth_nothing() -> None:
    unscored = [Candidate(0, "finished", unscored=True)]
    for selection in (Selection(), Selection(heads=Worst()), Selection(length_calibrated=True)):
        assert utilities(unscored, selection, 1.0) == {}
