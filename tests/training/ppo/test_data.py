"""Prompts in rounds, and parts of a batch."""

import torch

from training.data.records import user
from training.policy.logprobs import Answered
from training.ppo.data import PPOCollator, PPODataset, cut, endless_order, in_parts


def test_every_round_asks_every_prompt_once() -> None:
    order = endless_order(5, 0, 15, seed=1)
    assert [sorted(order[i : i + 5]) for i in (0, 5, 10)] == [[0, 1, 2, 3, 4]] * 3
    assert order[:5] != order[5:10]
    assert endless_order(5, 7, 4, seed=1) == order[7:11]


def test_prompts_are_drawn_in_that_order() -> None:
    prompts = [user(str(number)) for number in range(5)]
    assert PPODataset(prompts, seed=1).draw(3, 4) == [prompts[index] for index in endless_order(5, 3, 4, seed=1)]


def test_parts_are_as_long_as_they_must_be_and_add_up_to_the_batch() -> None:
    batch = PPOCollator(0, torch.device("cpu"))(
        [Answered([1, 2, 3], 1), Answered([4, 5, 6, 7, 8], 2), Answered([9, 9], 1)]
    )
    part, longest = cut(batch, torch.tensor([0, 2]))
    assert (longest, part["input_ids"].tolist()) == (3, [[1, 2, 3], [9, 9, 0]])
    widths = []

    def known(part: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        widths.append(part["input_ids"].shape[1])
        return {"tokens": part["input_ids"]}

    assert torch.equal(in_parts(known, batch, 1)["tokens"], batch["input_ids"])  # type: ignore[arg-type]
    assert widths == [3, 5, 2]
