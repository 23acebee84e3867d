"""Against REFERENCE_VALUES: numbers made with other projects' code or by hand."""

import pytest
import torch

from training.losses import (
    best_of_k,
    bradley_terry,
    bradley_terry_every_position,
    plackett_luce,
    ranked_pairs,
)

CHOSEN, REJECTED = torch.tensor([1.0, 0.0, 2.0]), torch.tensor([0.0, 1.0, 2.0])
RANKED = torch.tensor([3.0, 1.0, 0.0, 2.0])


@pytest.mark.parametrize(("margin", "value"), [(0.0, 0.773224), (0.5, 1.049856), (torch.full((3,), 0.5), 1.049856)])
def test_bradley_terry(margin: torch.Tensor | float, value: float) -> None:
    assert bradley_terry(CHOSEN, REJECTED, margin).item() == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize(
    ("rewards", "best", "value"),
    [((1, 2, 3, 4), 3, 0.440190), ((1, 2, 3, 4), 0, 3.440190), ((2, 2, 2, 2), 1, 1.386294)],
)
def test_best_of_k(rewards: tuple[float, ...], best: int, value: float) -> None:
    loss = best_of_k(torch.tensor([rewards], dtype=torch.float), torch.tensor([best]))
    assert loss.item() == pytest.approx(value, abs=1e-5)


def test_ranked_pairs_and_plackett_luce() -> None:
    assert ranked_pairs(RANKED).item() == pytest.approx(0.707038, abs=1e-5)
    assert plackett_luce(RANKED).item() == pytest.approx(3.974724, abs=1e-5)


def test_every_position_is_bradley_terry_where_one_position_is_compared() -> None:
    chosen, rejected = torch.randn(3, 5), torch.randn(3, 5)
    chosen[:, 2], rejected[:, 2] = CHOSEN, REJECTED
    compare = torch.zeros(3, 5, dtype=torch.bool)
    compare[:, 2] = True
    margin = torch.full((3,), 0.5)
    assert bradley_terry_every_position(chosen, rejected, compare).item() == pytest.approx(0.773224, abs=1e-5)
    assert bradley_terry_every_position(chosen, rejected, compare, margin).item() == pytest.approx(1.049856, abs=1e-5)


def test_every_position_weighs_pairs_equally_and_ignores_the_rest() -> None:
    chosen, rejected = torch.zeros(2, 4), torch.zeros(2, 4)
    rejected[0] = 5.0
    compare = torch.tensor([[True, False, False, False], [True, True, True, True]])
    expected = (torch.nn.functional.softplus(torch.tensor(5.0)) + torch.log(torch.tensor(2.0))) / 2
    assert bradley_terry_every_position(chosen, rejected, compare).item() == pytest.approx(expected.item())
    chosen[0, 1:] = 100.0
    assert bradley_terry_every_position(chosen, rejected, compare).item() == pytest.approx(expected.item())
