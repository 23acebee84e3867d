"""PPO's quantities against values computed with other projects' code or by hand."""

import pytest
import torch

from training.ppo import rl

close = pytest.approx


def row(*values: float) -> torch.Tensor:
    return torch.tensor([values])


ALL = torch.ones(1, 3, dtype=torch.bool)


@pytest.mark.parametrize(
    ("rewards", "gamma", "gae_lambda", "advantages"),
    [((0.0, 0.0, 1.0), 1.0, 0.95, (0.46575, 0.385, 0.3)), ((-0.1, 0.2, 1.0), 0.9, 0.8, (0.26112, 0.446, 0.3))],
)
def test_gae(rewards: tuple[float, ...], gamma: float, gae_lambda: float, advantages: tuple[float, ...]) -> None:
    values = row(0.5, 0.6, 0.7)
    found, returns = rl.advantages_and_returns(row(*rewards), values, ALL, gamma=gamma, gae_lambda=gae_lambda)
    assert found[0].tolist() == close(advantages, abs=1e-5)
    assert returns[0].tolist() == close([a + v for a, v in zip(advantages, values[0].tolist(), strict=True)], abs=1e-5)


def test_gae_without_discount_is_the_outcome_minus_the_value() -> None:
    rewards = torch.zeros(3, 4)
    rewards[:, -1] = torch.tensor([10.0, 20.0, 30.0])
    values = torch.tensor([1.0, 2.0, 3.0])[:, None].expand(3, 4)
    mask = torch.ones(3, 4, dtype=torch.bool)
    advantages, _ = rl.advantages_and_returns(rewards, values, mask, gamma=1, gae_lambda=1)
    assert advantages.tolist() == [[9.0] * 4, [18.0] * 4, [27.0] * 4]


@pytest.mark.parametrize("junk", [0.0, 5.0, float("nan")])
def test_masked_positions_change_nothing(junk: float) -> None:
    mask = torch.tensor([[False, True, True, True, False]])
    rewards, values = row(junk, 0, 0, 1, junk), row(junk, 0.5, 0.6, 0.7, junk)
    advantages, returns = rl.advantages_and_returns(rewards, values, mask, gamma=1, gae_lambda=0.95)
    assert advantages[0].tolist() == close([0, 0.46575, 0.385, 0.3, 0], abs=1e-5)
    assert returns[0].tolist() == close([0, 0.96575, 0.985, 1, 0], abs=1e-5)
    whitened = rl.whiten(row(junk, 1, 2, 3, junk), mask)
    assert whitened[0].tolist() == close([0, -1.224745, 0, 1.224745, 0], abs=1e-5)
    penalised = rl.penalised_rewards(
        torch.tensor([2.0]), row(junk, -1, -1, -1, junk), row(junk, -2, -1, 0, 0), mask, 0.1
    )
    assert penalised[0].tolist() == close([0, -0.1, 0, 2.1, 0])


def test_policy_loss() -> None:
    logprobs, old = (
        torch.tensor([[-0.2, -0.4, -0.1], [-0.7, -0.3, -0.2]]),
        torch.tensor([[-0.5, -0.4, -0.1], [-0.2, -0.3, -0.2]]),
    )
    advantages = torch.tensor([[1, -0.5, 0], [0.3, -1.2, 0.5]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    losses, clipped = rl.policy_loss(logprobs, old, advantages, mask, clip=0.2)
    assert rl.token_mean(losses, mask).item() == close(-0.036392, abs=1e-5)
    assert rl.token_mean(clipped.float(), mask).item() == close(0.2)


def test_value_loss() -> None:
    mask = torch.ones(1, 2, dtype=torch.bool)
    losses, _ = rl.value_loss(row(1, 0), row(0.5, 0.1), row(0, 1), mask, clip=0.2)
    assert rl.token_mean(losses, mask).item() == close(0.5)


@pytest.mark.parametrize(("kl", "coefficient"), [(12, 0.201024), (3, 0.198976), (6.6, 0.200512), (6, 0.2)])
def test_adaptive_kl(kl: float, coefficient: float) -> None:
    controller = rl.KLController(0.2, target=6, horizon=10_000)
    controller.update(kl, 256)
    assert controller.coefficient == close(coefficient, abs=1e-6)


def test_adaptive_kl_moves_by_a_bounded_step_and_survives_its_state() -> None:
    controller = rl.KLController(0.15, target=6, horizon=10_000)
    for _ in range(10):
        controller.update(1000, 512)
    assert controller.coefficient == close(0.16608747, abs=1e-8)
    again = rl.KLController(0.15, target=6, horizon=10_000)
    again.load_state_dict(controller.state_dict())
    assert again == controller


def test_a_fixed_coefficient_stays() -> None:
    controller = rl.KLController(0.05)
    controller.update(1000, 512)
    assert controller.coefficient == 0.05


def test_kl_estimators() -> None:
    values = rl.kl_estimators(torch.tensor(0.5))
    assert [value.item() for value in values] == close([0.5, 0.125, 0.106531], abs=1e-5)


def test_whitening_uses_the_population_variance() -> None:
    mask = torch.ones(1, 4, dtype=torch.bool)
    assert rl.whiten(row(1, 2, 3, 4), mask)[0].tolist() == close([-1.341641, -0.447214, 0.447214, 1.341641], abs=1e-5)
    kept = rl.whiten(row(1, 2, 3, 4), mask, shift_mean=False)
    assert kept.mean().item() == close(2.5)
