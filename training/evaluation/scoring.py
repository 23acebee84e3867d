"""Rewards of comparisons' responses, offline with transformers."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import torch

from measuring.estimators import Floats
from reward.batching import score_sequences
from reward.config import RewardConfig, combine
from reward.model import load
from training.data.records import Comparison
from training.labs import model_path


@dataclass(frozen=True)
class ScoredComparisons:
    """Of each comparison: the raw reward (the mean of the heads) and the tokens of each response."""

    raw: list[Floats]
    tokens: list[Floats]
    # Of the checkpoint's own normalisation, which serving applies and the Bradley-Terry model does not know.
    mean: float
    std: float  # of the same
    heads: list[Floats]  # the raw reward of every head, [responses, heads]

    def normalised(self) -> list[Floats]:
        """Rewards as they are served."""
        return [(rewards - self.mean) / self.std for rewards in self.raw]


def score(comparisons: Sequence[Comparison], reward_model: str | Path) -> ScoredComparisons:
    """Score every response, on a GPU where there is one. Raises ValueError as `reward.model.load` does.

    Rewards that are not finite raise FloatingPointError: no number made of them would mean anything.
    """
    model, template = load(model_path(str(reward_model)), device="cuda" if torch.cuda.is_available() else "cpu")
    config = RewardConfig.of(model.config)
    sequences, lengths = [], []
    for comparison in comparisons:
        prompt = template.prompt(comparison.messages)
        shared = len(template.prompt_tokens(prompt))
        rows = [template.tokens(prompt, text) for text in comparison.responses]
        sequences += rows
        lengths.append(np.array([len(row) - shared for row in rows], float))
    heads = np.array(score_sequences(model, sequences), float)  # [responses of all comparisons, heads]
    outputs = np.array([combine(raw, RewardConfig(config.heads))[0] for raw in heads.tolist()])
    if not np.isfinite(outputs).all():
        raise FloatingPointError(f"{reward_model} gives {np.sum(~np.isfinite(outputs))} rewards that are not finite")
    ends = list(chain([0], np.cumsum([len(row) for row in lengths])))
    raw, by_head = ([values[start:end] for start, end in pairwise(ends)] for values in (outputs, heads))
    return ScoredComparisons(raw, lengths, config.mean, config.std, by_head)
