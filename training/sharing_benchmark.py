"""What computing a prompt once for all its responses is worth: tokens per second of reward training, three layouts."""

import time
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from transformers import PreTrainedModel

from training.rewards.comparison_batches import Collator, Group
from training.rewards.outputs import PositionRewards, objective, to_device


@dataclass(frozen=True)
class SharingThroughput:
    """Distinct tokens (each prompt once, each response once) per second, forward and backward, for the same labels.

    shared: one row for a prompt and its responses. separate: a row for each response. pairs: two rows for each of the
    C(K, 2) pairs, as a trainer of pairs has them.
    """

    shared: float
    separate: float
    pairs: float

    def __str__(self) -> str:
        return (
            f"{self.shared:,.0f} tokens/s with shared prompts, {self.shared / self.separate:.2f} times that of "
            f"separate rows, {self.shared / self.pairs:.2f} times that of padded pairs"
        )


def measure_sharing(
    model: PreTrainedModel,
    *,
    prompt_tokens: int,
    response_tokens: int,
    responses: int = 4,
    prompts: int = 8,
    repeats: int = 3,
) -> SharingThroughput:
    """The best of `repeats` passes over `prompts` random comparisons in each layout, after one to warm up.

    model: a reward model with one output, on the device to measure; its gradients are cleared. Raises ValueError for
    fewer than two responses.
    """
    if responses < 2:
        raise ValueError(f"responses: pairs need two or more, not {responses}")
    groups = _groups(model, prompt_tokens, response_tokens, responses, prompts)
    pairs = [_pair(group, indices) for group in groups for indices in combinations(range(responses), 2)]
    plain, tree = Collator(0, every_position=False), Collator(0, every_position=False, always=True)
    read = PositionRewards(model)
    distinct_tokens = prompts * (prompt_tokens + responses * response_tokens)
    try:
        shared, separate, paired = (
            distinct_tokens / _step_s(model, read, collate(rows), repeats)
            for collate, rows in ((tree, groups), (plain, groups), (plain, pairs))
        )
    finally:
        read.close()
        model.zero_grad()
    return SharingThroughput(shared, separate, paired)


def _groups(
    model: PreTrainedModel, prompt_tokens: int, response_tokens: int, responses: int, prompts: int
) -> list[Group]:
    vocabulary: int = model.config.get_text_config().vocab_size
    generator = np.random.default_rng(0)
    made = []
    for _ in range(prompts):
        prompt = generator.integers(1, vocabulary, prompt_tokens)
        tails = generator.integers(1, vocabulary, (responses, response_tokens))
        tails[:, 0] = 1 + np.arange(responses)  # they differ from the first token on
        sequences = tuple(np.concatenate([prompt, tail]).astype(np.int32) for tail in tails)
        no_scores, weight = np.empty((responses, 0), np.float32), np.ones(1, np.float32)
        made.append(Group(sequences, prompt_tokens, tuple(range(responses)), no_scores, 0.0, weight))
    return made


def _pair(group: Group, indices: tuple[int, ...]) -> Group:
    sequences = tuple(group.sequences[index] for index in indices)
    return Group(sequences, group.start, (0, 1), group.scores[:2], group.margin, group.weights)


def _step_s(model: PreTrainedModel, read: PositionRewards, batch: dict[str, torch.Tensor], repeats: int) -> float:
    batch = to_device(batch, model.device)
    times_s = []
    for _ in range(1 + repeats):
        _wait(model.device)
        started = time.monotonic()
        objective("pairs", read(model, batch), batch, 0.0).mean().backward()
        _wait(model.device)
        times_s.append(time.monotonic() - started)
    return min(times_s[1:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
