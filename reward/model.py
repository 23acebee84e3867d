"""What a reward checkpoint says about itself, how its outputs become one reward, and how to load it with transformers.

A reward model is a plain `AutoModelForSequenceClassification` checkpoint. `config.bestofn` may hold
`{"heads": [names], "mean": float, "std": float}`; without it there is one head, mean 0 and standard deviation 1.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from reward.template import ConversationTemplate

_KEYS = {"heads", "mean", "std"}


@dataclass(frozen=True)
class RewardConfig:
    """The names of the outputs (empty for a single one) and the normalisation of their mean."""

    heads: tuple[str, ...] = ()
    mean: float = 0.0
    std: float = 1.0

    @classmethod
    def of(cls, config: PreTrainedConfig) -> "RewardConfig":
        """Read `config.bestofn`. Raises ValueError for what it cannot mean, and when it contradicts `num_labels`."""
        values = getattr(config, "bestofn", None) or {}
        if not isinstance(values, Mapping) or set(values) - _KEYS:
            raise ValueError(f"config.bestofn: expected a dict with keys among {sorted(_KEYS)}, got {values!r}")
        heads = tuple(str(name) for name in values.get("heads") or ())
        mean, std = float(values.get("mean", 0.0)), float(values.get("std", 1.0))
        if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
            raise ValueError(f"config.bestofn: mean {mean} and std {std} must be finite, std positive")
        if len(set(heads)) != len(heads):
            raise ValueError(f"config.bestofn: the heads {list(heads)} are not all different")
        if config.num_labels != max(1, len(heads)):
            raise ValueError(
                f"the checkpoint has num_labels={config.num_labels} but config.bestofn names {len(heads)} heads; "
                "name every output in config.bestofn['heads'], or use a checkpoint with one output"
            )
        return cls(heads, mean, std)


def combine(raw: Sequence[float], config: RewardConfig) -> tuple[float, dict[str, float]]:
    """The reward to rank by, and the reward of each named head.

    `raw` holds the model's outputs, one per head. The reward is their mean, minus `mean`, over `std`; it is nan or
    infinite when an output is. Raises ValueError when the number of outputs is not the number of heads.
    """
    if len(raw) != max(1, len(config.heads)):
        raise ValueError(f"the model gave {len(raw)} outputs for {max(1, len(config.heads))} heads")
    reward = (sum(raw) / len(raw) - config.mean) / config.std
    return reward, dict(zip(config.heads, raw, strict=True)) if config.heads else {}


def load(
    path: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype | str = "auto"
) -> tuple[PreTrainedModel, ConversationTemplate]:
    """Load a checkpoint for scoring: the model in evaluation mode on `device`, and its conversation template.

    Raises ValueError when heads and outputs disagree, when weights are missing (for example the score layer of a
    checkpoint that is a plain language model), when the tokenizer does not fit, or when padding cannot be told from
    the end of a conversation.
    """
    tokenizer = AutoTokenizer.from_pretrained(path)
    model, report = AutoModelForSequenceClassification.from_pretrained(path, dtype=dtype, output_loading_info=True)
    if report["missing_keys"]:
        raise ValueError(f"{path} is not a reward model: it has no weights for {sorted(report['missing_keys'])}")
    RewardConfig.of(model.config)
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        raise ValueError(f"{path}: the tokenizer has {len(tokenizer)} tokens, more than the model's embeddings")
    template = ConversationTemplate(tokenizer)
    _settle_padding(model.config, tokenizer, template)
    return model.to(device).eval(), template


def max_positions(config: PreTrainedConfig) -> int | None:
    """The longest sequence that the model can read, where its configuration says so."""
    value: Any = getattr(config, "max_position_embeddings", None)
    return int(value) if value else None


def _settle_padding(
    config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, template: ConversationTemplate
) -> None:
    """transformers reads the reward at the last token that is not `pad_token_id`, vLLM at the last token.

    They agree only when no conversation ends with the pad token. Sets the configuration's pad token from the
    tokenizer when it has none.
    """
    if config.pad_token_id is None:
        config.pad_token_id = tokenizer.pad_token_id
    if config.pad_token_id is None:
        raise ValueError("the reward model has no pad token: set pad_token_id to a token that never ends an answer")
    prompt = template.prompt([{"role": "user", "content": "a"}])
    if template.tokens(prompt, "b")[-1] == config.pad_token_id:
        raise ValueError(
            f"the pad token ({config.pad_token_id}) also ends every conversation, so the position of the reward is "
            "ambiguous; save the checkpoint with a pad token of its own"
        )
