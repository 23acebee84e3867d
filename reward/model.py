"""How to load a reward checkpoint with transformers: a plain `AutoModelForSequenceClassification`."""

from collections.abc import Sequence
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

from reward.config import RewardConfig
from reward.template import ConversationTemplate


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
    """The longest sequence that the model can read, where its configuration names one."""
    value: Any = getattr(config, "max_position_embeddings", None)
    return int(value) if value else None


def refuse_too_long(tokens: Sequence[int], max_tokens: int | None) -> None:
    """Raises ValueError for a conversation of more tokens than the model can read."""
    if max_tokens and len(tokens) > max_tokens:
        raise ValueError(
            f"the conversation is {len(tokens)} tokens long, {len(tokens) - max_tokens} more than the {max_tokens} "
            "that the reward model can read"
        )


def placement(device: str, dtype: str) -> tuple[str, torch.dtype]:
    """Where and in which precision to compute; "auto" is bfloat16 on a GPU where there is one, else float32 on the CPU.

    Raises ValueError for a dtype that torch does not know.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if dtype == "auto":
        return device, torch.float32 if device == "cpu" else torch.bfloat16
    precision = getattr(torch, dtype, None)
    if not isinstance(precision, torch.dtype):
        raise ValueError(f"dtype: must be auto or a torch dtype such as float32, not {dtype!r}")
    return device, precision


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
