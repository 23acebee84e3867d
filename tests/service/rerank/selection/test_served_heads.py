"""What is asked of the reward model's heads, against those that it has."""

from collections.abc import Mapping

import pytest

from reward.config import PLAIN, RewardConfig
from service.rerank.errors import InvalidRequest
from service.rerank.selection import ARGMAX, Selection
from service.rerank.selection.heads import Variance, Worst
from service.rerank.selection.served_heads import check_heads, check_weights

ENSEMBLE = RewardConfig(("helpful", "short"), 0.5, 2.0)
ONE = RewardConfig(("only",))


def test_what_the_reward_model_can_follow_is_let_through() -> None:
    check_heads(ARGMAX, PLAIN)
    check_heads(Selection(heads=Worst()), ENSEMBLE)
    check_weights({"helpful": 2.0, "short": -1.0}, ARGMAX, ENSEMBLE)
    check_weights({"short": 1.0, "helpful": 0.0}, ARGMAX, ENSEMBLE)


@pytest.mark.parametrize("reward", [PLAIN, ONE])
def test_heads_that_are_compared_have_to_be_several(reward: RewardConfig) -> None:
    with pytest.raises(InvalidRequest, match=r"variance compares the heads .* single output") as caught:
        check_heads(Selection(heads=Variance()), reward)
    assert caught.value.param == "rerank.selection.heads"


@pytest.mark.parametrize(
    ("weights", "selection", "reward", "param", "message"),
    [
        ({"only": 1.0}, ARGMAX, ONE, "rerank.reward_weights", "single output"),
        ({"kind": 1.0}, ARGMAX, ENSEMBLE, "rerank.reward_weights.kind", "its heads are helpful, short"),
        ({"\ud800": 1.0}, ARGMAX, ENSEMBLE, r"rerank.reward_weights.\ud800", "is not a head"),
        ({"short": 0.0}, ARGMAX, ENSEMBLE, "rerank.reward_weights", "at least one weight must not be 0"),
        ({}, ARGMAX, ENSEMBLE, "rerank.reward_weights", "at least one weight must not be 0"),
        ({"short": 1.0}, Selection(heads=Worst()), ENSEMBLE, "rerank.reward_weights", r"selection\.heads worst"),
    ],
)
def test_weights_that_cannot_be_followed_are_refused_by_name(
    weights: Mapping[str, float], selection: Selection, reward: RewardConfig, param: str, message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message) as caught:
        check_weights(weights, selection, reward)
    assert caught.value.param == param
