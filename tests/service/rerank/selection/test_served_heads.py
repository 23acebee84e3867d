"""What a request asks of the reward model's heads is held against those that it has."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from reward.config import PLAIN, RewardConfig
from service.rerank.errors import InvalidRequest
from service.rerank.selection import ARGMAX, Selection
from service.rerank.selection.heads import Variance, Worst
from service.rerank.selection.served_heads import check_heads, check_weights
from tests.service.rerank.asks import DEFAULT_4, ENSEMBLE, HEADS, read, refusal


def test_what_needs_several_heads_is_refused_for_a_single_output() -> None:
    for heads in ((), ("only",)):
        limits = replace(DEFAULT_4, reward=RewardConfig(heads))
        assert refusal({"rerank": {"selection": {"heads": "worst"}}}, limits=limits) == "rerank.selection.heads"
        assert refusal({"rerank": {"reward_weights": {"only": 1}}}, limits=limits) == "rerank.reward_weights"


def test_the_heads_are_listed_to_who_names_another_and_no_garbage_is_echoed() -> None:
    with pytest.raises(InvalidRequest, match="its heads are helpful, short"):
        read({"rerank": {"reward_weights": {"kind": 1}}}, limits=ENSEMBLE)
    with pytest.raises(InvalidRequest, match=r"\\ud800"):
        read(b'{"rerank": {"reward_weights": {"\\ud800": 1}}}', limits=ENSEMBLE)


def test_heads_that_are_there_may_be_compared_or_weighed_but_not_both() -> None:
    worst, plain = Selection(heads=Worst()), Selection()
    check_heads(worst, HEADS)
    check_weights({"short": -1.0}, plain, HEADS)
    with pytest.raises(InvalidRequest, match=r"cannot be combined with selection\.heads worst"):
        check_weights({"short": -1.0}, worst, HEADS)


def test_a_single_output_suits_a_selection_that_compares_nothing() -> None:
    check_heads(Selection(), RewardConfig())
    with pytest.raises(InvalidRequest, match="worst compares the heads"):
        check_heads(Selection(heads=Worst()), RewardConfig(("only",)))


def test_weights_that_are_all_zero_rank_nobody() -> None:
    with pytest.raises(InvalidRequest, match="at least one weight must not be 0"):
        check_weights({"short": 0.0, "helpful": 0.0}, Selection(), HEADS)


TWO_HEADS = RewardConfig(("helpful", "short"), 0.5, 2.0)


ONE = RewardConfig(("only",))


def test_what_the_reward_model_can_follow_is_let_through() -> None:
    check_heads(ARGMAX, PLAIN)
    check_heads(Selection(heads=Worst()), TWO_HEADS)
    check_weights({"helpful": 2.0, "short": -1.0}, ARGMAX, TWO_HEADS)
    check_weights({"short": 1.0, "helpful": 0.0}, ARGMAX, TWO_HEADS)


@pytest.mark.parametrize("reward", [PLAIN, ONE])
def test_heads_that_are_compared_have_to_be_several(reward: RewardConfig) -> None:
    with pytest.raises(InvalidRequest, match=r"variance compares the heads .* single output") as caught:
        check_heads(Selection(heads=Variance()), reward)
    assert caught.value.param == "rerank.selection.heads"


@pytest.mark.parametrize(
    ("weights", "selection", "reward", "param", "message"),
    [
        ({"only": 1.0}, ARGMAX, ONE, "rerank.reward_weights", "single output"),
        ({"kind": 1.0}, ARGMAX, TWO_HEADS, "rerank.reward_weights.kind", "its heads are helpful, short"),
        ({"\ud800": 1.0}, ARGMAX, TWO_HEADS, r"rerank.reward_weights.\ud800", "is not a head"),
        ({"short": 0.0}, ARGMAX, TWO_HEADS, "rerank.reward_weights", "at least one weight must not be 0"),
        ({}, ARGMAX, TWO_HEADS, "rerank.reward_weights", "at least one weight must not be 0"),
        ({"short": 1.0}, Selection(heads=Worst()), TWO_HEADS, "rerank.reward_weights", r"selection\.heads worst"),
    ],
)
def test_weights_that_cannot_be_followed_are_refused_by_name(
    weights: Mapping[str, float], selection: Selection, reward: RewardConfig, param: str, message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message) as caught:
        check_weights(weights, selection, reward)
    assert caught.value.param == param
