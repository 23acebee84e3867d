"""What a reward checkpoint says of itself, and one reward from several outputs."""

import math
from typing import Any

import pytest
from transformers import LlamaConfig

from reward.config import RewardConfig, combine, weigh


def config(num_labels: int = 1, **values: Any) -> LlamaConfig:
    return LlamaConfig(**{"num_labels": num_labels, **values})


def test_absent_means_one_plain_head() -> None:
    assert RewardConfig.of(config()) == RewardConfig((), 0.0, 1.0)
    assert combine([2.5], RewardConfig()) == (2.5, {})


def test_heads_are_averaged_and_normalised() -> None:
    read = RewardConfig.of(config(2, bestofn={"heads": ["helpful", "short"], "mean": 1.0, "std": 2.0}))
    assert combine([4.0, 2.0], read) == (1.0, {"helpful": 4.0, "short": 2.0})
    with pytest.raises(ValueError, match="1 outputs for 2 heads"):
        combine([4.0], read)


@pytest.mark.parametrize(
    ("num_labels", "bestofn", "message"),
    [
        (2, None, "num_labels=2 but config.bestofn names 0 heads"),
        (1, {"heads": ["a", "b"]}, "names 2 heads"),
        (2, {"heads": ["a", "a"]}, "not all different"),
        (1, {"std": 0.0}, "std 0.0"),
        (1, {"mean": float("nan")}, "must be finite"),
        (1, {"scale": 2}, "expected a dict with keys"),
    ],
)
def test_contradictions_are_errors(num_labels: int, bestofn: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RewardConfig.of(config(num_labels, bestofn=bestofn))


def test_nan_stays_nan() -> None:
    reward, _ = combine([float("nan")], RewardConfig())
    assert math.isnan(reward)


HEADS = RewardConfig(("helpful", "short"), 1.0, 2.0)


def test_equal_weights_give_the_checkpoints_own_reward() -> None:
    reward, rewards = combine([4.1, 2.3], HEADS)
    assert weigh(rewards, {"helpful": 1, "short": 1}, HEADS) == reward
    assert weigh(rewards, {"helpful": 0.5, "short": 0.5}, HEADS) == pytest.approx(reward, abs=1e-12)


def test_weights_may_leave_a_head_out_or_turn_it_round() -> None:
    rewards = {"helpful": 4.0, "short": float("nan")}
    assert weigh(rewards, {"helpful": 3.0, "short": 0.0}, HEADS) == 1.5
    assert weigh({"helpful": 4.0, "short": 2.0}, {"helpful": 3.0, "short": -1.0}, HEADS) == ((12 - 2) / 4 - 1) / 2
    with pytest.raises(KeyError):
        weigh({}, {"helpful": 1.0}, HEADS)
