"""What computing a prompt once for all its responses is worth: tokens a second of reward training in three layouts.

The comparisons are random tokens. A pass is forward, the loss of all pairs and backward, without the optimizer. Tokens
are distinct ones (each prompt once, each response once), so that every layout does the same work.
"""

import time
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from training.labs import checkpoint
from training.reward.data import Batch, Group, RewardCollator
from training.reward.heads import HeadLayout, reward_model
from training.reward.losses import objective
from training.reward.outputs import PositionRewards, to_device

_POLICY = "arithmetic-sft"
_PROMPTS, _RESPONSES = 8, 4
_PROMPT_TOKENS, _RESPONSE_TOKENS = 96, 96
_PASSES = 3

Layout = Callable[[], Batch]


def shared_prompts() -> Batch:
    """One row for a prompt and its responses."""
    return RewardCollator(0, every_position=False, always=True)(_groups())


def separate_rows() -> Batch:
    """A row for each response."""
    return RewardCollator(0, every_position=False)(_groups())


def padded_pairs() -> Batch:
    """Two rows for each of the C(K, 2) pairs of a prompt, as a trainer of pairs has them."""
    pairs = [_pair(group, two) for group in _groups() for two in combinations(range(_RESPONSES), 2)]
    return RewardCollator(0, every_position=False)(pairs)


def throughput(layout: Layout) -> float:
    """Distinct tokens a second, after one pass to warm up."""
    model: Any = fresh_model()
    if torch.accelerator.is_available():
        model.to(torch.accelerator.current_accelerator())
    read, batch = PositionRewards(model), to_device(layout(), model.device)
    loss(model, read, batch).backward()
    _wait()
    started_s = time.perf_counter()
    for _ in range(_PASSES):
        loss(model, read, batch).backward()
    _wait()
    tokens = _PASSES * _PROMPTS * (_PROMPT_TOKENS + _RESPONSES * _RESPONSE_TOKENS)
    return tokens / (time.perf_counter() - started_s)


def fresh_model() -> PreTrainedModel:
    """A reward model with one fresh output on the bundled policy."""
    return reward_model(str(checkpoint(_POLICY)), HeadLayout(), extra_layers=0, seed=0)


def loss(model: PreTrainedModel, read: PositionRewards, batch: Batch) -> torch.Tensor:
    """The mean loss of all pairs, a scalar."""
    return objective("pairs", read(model, batch), batch, 0.0).mean()


def _groups() -> list[Group]:
    """Responses that differ from their first token on."""
    generator = np.random.default_rng(0)
    made = []
    for _ in range(_PROMPTS):
        prompt = generator.integers(1, 256, _PROMPT_TOKENS)
        tails = generator.integers(1, 256, (_RESPONSES, _RESPONSE_TOKENS))
        tails[:, 0] = 1 + np.arange(_RESPONSES)
        sequences = tuple(np.concatenate([prompt, tail]).astype(np.int32) for tail in tails)
        no_scores, weight = np.empty((_RESPONSES, 0), np.float32), np.ones(1, np.float32)
        made.append(Group(sequences, _PROMPT_TOKENS, tuple(range(_RESPONSES)), no_scores, 0.0, weight))
    return made


def _pair(group: Group, two: tuple[int, ...]) -> Group:
    sequences = tuple(group.sequences[index] for index in two)
    return Group(sequences, group.start, (0, 1), group.scores[:2], group.margin, group.weights)


def _wait() -> None:
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
