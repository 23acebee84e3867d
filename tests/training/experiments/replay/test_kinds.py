"""What rewards to expect of a prompt, learned."""

import numpy as np
import pytest

from training.experiments.replay.kinds import learn


def test_two_clear_kinds_are_found() -> None:
    draw = np.random.default_rng(0)
    easy = [draw.normal(2, 0.3, 16).tolist() for _ in range(60)]
    hard = [draw.normal(-2, 0.3, 16).tolist() for _ in range(20)]
    prior = learn([*easy, *hard], kinds=2, bins=8)
    low, high = sorted(zip(prior.weights, prior.shares, strict=True), key=lambda kind: np.dot(kind[1], prior.values))
    assert [low[0], high[0]] == pytest.approx([0.25, 0.75], abs=0.03)
    assert np.dot(low[1], prior.values) == pytest.approx(-2, abs=0.15)
    assert np.dot(high[1], prior.values) == pytest.approx(2, abs=0.15)
    assert max(prior.posterior([-2.0])) > 0.95
    assert prior.gains([-2.0], 1)[0] < 0.6  # a hard prompt stays hard, whatever the easy ones have


def test_pooled_shares_are_those_of_the_rewards() -> None:
    draw = np.random.default_rng(1)
    rewards = draw.normal(0, 1, (50, 12))
    prior = learn(list(rewards))
    mean = np.array(prior.weights) @ np.array(prior.shares) @ np.array(prior.values)
    assert mean == pytest.approx(rewards.mean(), abs=0.03)


def test_rare_successes_are_not_lost_in_one_bin() -> None:
    prior = learn([[0.0] * 99 + [1.0]] * 2)
    assert prior.values == (0.0, 1.0)
    assert prior.gains([0.0], 1)[0] == pytest.approx(0.01, abs=0.005)


def test_there_are_no_more_kinds_than_prompts() -> None:
    assert len(learn([[0.0, 1.0], [0.5, 2.0, 3.0]]).weights) == 2


@pytest.mark.parametrize("rewards", [[], [[]], [[1.0, 1.0], [1.0]]])
def test_rewards_that_do_not_differ_teach_nothing(rewards: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="rewards that differ"):
        learn(rewards)
