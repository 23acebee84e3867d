"""What a request asks of the reward model's heads is held against those that it has."""

from dataclasses import replace

import pytest

from reward.config import RewardConfig
from service.rerank.errors import InvalidRequest
from service.rerank.selection import Selection
from service.rerank.selection.heads import Worst
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
