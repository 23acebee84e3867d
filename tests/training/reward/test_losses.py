"""Against REFERENCE_VALUES: numbers made with other projects' code or by hand."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from training.reward.data import ABSENT
from training.reward.losses import best_of_k, better_pairs, bradley_terry, masked_mean, objective, plackett_luce

CHOSEN, REJECTED = torch.tensor([1.0, 0.0, 2.0]), torch.tensor([0.0, 1.0, 2.0])
RANKED, RANKS = torch.tensor([[3.0, 1.0, 0.0, 2.0]]), torch.tensor([[0, 1, 2, 3]])
NO_MARGIN = torch.zeros(1)


def pair_loss(rewards: torch.Tensor, ranks: torch.Tensor, margin: torch.Tensor) -> torch.Tensor:
    """What training computes from one output's rewards at the ends, [groups, K]: [groups]."""
    return objective("pairs", rewards[None, ..., None], {"ranks": ranks, "margin": margin}, 0.0)[0]


@pytest.mark.parametrize(("margin", "value"), [(0.0, 0.773224), (0.5, 1.049856), (torch.full((3,), 0.5), 1.049856)])
def test_bradley_terry(margin: torch.Tensor | float, value: float) -> None:
    assert bradley_terry(CHOSEN, REJECTED, margin).mean().item() == pytest.approx(value, abs=1e-5)


def test_two_ranked_responses_are_bradley_terry_with_margin() -> None:
    rewards, ranks = torch.stack([REJECTED, CHOSEN], dim=1), torch.tensor([[1, 0]] * 3)
    margin = torch.tensor([0.0, 0.5, 2.0])
    assert torch.equal(pair_loss(rewards, ranks, margin), bradley_terry(CHOSEN, REJECTED, margin))


@pytest.mark.parametrize(
    ("rewards", "best", "value"),
    [((1, 2, 3, 4), 3, 0.440190), ((1, 2, 3, 4), 0, 3.440190), ((2, 2, 2, 2), 1, 1.386294)],
)
def test_best_of_k(rewards: tuple[float, ...], best: int, value: float) -> None:
    ranks = torch.tensor([[int(index != best) for index in range(4)]])
    assert best_of_k(torch.tensor([rewards]).float(), ranks).item() == pytest.approx(value, abs=1e-5)
    assert plackett_luce(torch.tensor([rewards]).float(), ranks).item() == pytest.approx(value, abs=1e-5)


def test_pairs_and_plackett_luce() -> None:
    assert pair_loss(RANKED, RANKS, NO_MARGIN).item() == pytest.approx(0.707038, abs=1e-5)
    assert plackett_luce(RANKED, RANKS).item() == pytest.approx(3.974724, abs=1e-5)


@pytest.mark.parametrize("order", [[3, 0, 2, 1], [1, 2, 3, 0]])
def test_the_order_of_the_responses_does_not_matter(order: list[int]) -> None:
    shuffled, ranks = RANKED[:, order], RANKS[:, order]
    assert pair_loss(shuffled, ranks, NO_MARGIN).item() == pytest.approx(0.707038, abs=1e-5)
    assert plackett_luce(shuffled, ranks).item() == pytest.approx(3.974724, abs=1e-5)


def test_absent_responses_take_no_part() -> None:
    rewards = torch.cat([RANKED, torch.full((1, 2), 7.0)], dim=1).requires_grad_()
    ranks = torch.cat([RANKS, torch.full((1, 2), ABSENT)], dim=1)
    assert pair_loss(rewards, ranks, NO_MARGIN).item() == pytest.approx(0.707038, abs=1e-5)
    assert plackett_luce(rewards, ranks).item() == pytest.approx(3.974724, abs=1e-5)
    best = best_of_k(rewards, ranks)
    assert best.item() == pytest.approx(best_of_k(RANKED, RANKS).item())
    total = best + plackett_luce(rewards, ranks) + pair_loss(rewards, ranks, NO_MARGIN)
    (gradient,) = torch.autograd.grad(total.sum(), rewards)
    assert gradient[0, 4:].tolist() == [0.0, 0.0]
    assert gradient.isfinite().all()


def test_ties_make_no_pair_and_do_not_compete() -> None:
    rewards, tied = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[0, 0, 1]])
    assert better_pairs(tied)[0].nonzero().tolist() == [[0, 2], [1, 2]]
    expected = [math.log1p(math.exp(-2)), math.log1p(math.exp(-1))]
    assert pair_loss(rewards, tied, NO_MARGIN).item() == pytest.approx(sum(expected) / 2)
    assert plackett_luce(rewards, tied).item() == pytest.approx(sum(expected))
    assert pair_loss(rewards, torch.zeros(1, 3), NO_MARGIN).item() == 0
    assert plackett_luce(rewards, torch.zeros(1, 3)).item() == 0


def test_the_mean_of_nothing_is_zero() -> None:
    values = torch.tensor([[1.0, 3.0, math.nan], [math.nan, 1.0, 1.0]])
    mask = torch.tensor([[True, True, False], [False, False, False]])
    assert masked_mean(values, mask).tolist() == [2.0, 0.0]


@pytest.mark.parametrize("margin", [False, True])
def test_equal_to_trl(margin: bool) -> None:
    trl = pytest.importorskip("trl")
    generator = torch.Generator().manual_seed(int(margin))
    for size in (1, 5, 64):
        rewards = 3 * torch.randn(size, 2, generator=generator)
        margins = torch.rand(size, generator=generator) if margin else torch.zeros(size)
        inputs: dict[str, Any] = {"attention_mask": torch.ones(2 * size, 1)} | ({"margin": margins} if margin else {})
        logits = rewards.T.reshape(-1, 1)  # all chosen, then all rejected
        theirs = trl.RewardTrainer.compute_loss(trl_state(), lambda logits=logits, **_: logits_of(logits), inputs)
        ours = pair_loss(rewards, torch.tensor([[0, 1]] * size), margins).mean()
        assert ours.item() == pytest.approx(theirs.item(), abs=1e-6)


def logits_of(logits: torch.Tensor) -> SimpleNamespace:
    return SimpleNamespace(logits=logits)


def trl_state() -> SimpleNamespace:
    """What TRL's loss reads of its trainer."""
    from collections import defaultdict

    class Accelerator:
        def gather_for_metrics(self, value: torch.Tensor) -> torch.Tensor:
            return value

        gather = gather_for_metrics

    return SimpleNamespace(
        model=SimpleNamespace(training=True),
        args=SimpleNamespace(center_rewards_coefficient=None),
        accelerator=Accelerator(),
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )
