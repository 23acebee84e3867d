"""What must hold before any work is done: the model, its tokenizer and the data fit together and into `max_tokens`."""

from collections.abc import Callable, Sequence
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

_QUOTED = 60  # characters of a record that an error shows


class TrainingDiverged(FloatingPointError):
    """The loss is no longer a finite number."""


def check_model(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_tokens: int, *, distinct_pad: bool = False
) -> None:
    """Raises ValueError, with what to do about it, where this model cannot be trained with this tokenizer.

    distinct_pad: the end of text may not double as padding (reward models: transformers reads the reward at the last
    token that is not padding, vLLM at the last one).
    """
    name = repr(tokenizer.name_or_path or "given")
    if not tokenizer.chat_template:
        raise ValueError(
            f"the tokenizer {name} has no chat template, so a conversation cannot be written in the model's format: "
            "save the tokenizer with a chat_template"
        )
    check_padding(tokenizer, distinct=distinct_pad)
    embeddings: Any = model.get_input_embeddings()
    rows = embeddings.weight.shape[0]
    if len(tokenizer) > rows:
        raise ValueError(
            f"the tokenizer {name} has {len(tokenizer)} tokens and the model embeds {rows}: they do not belong "
            "together, or model.resize_token_embeddings was forgotten after adding tokens"
        )
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if positions is not None and max_tokens > positions:
        raise ValueError(f"max_tokens: {max_tokens} is more than the {positions} positions that the model reads")


def check_padding(tokenizer: PreTrainedTokenizerBase, *, distinct: bool) -> None:
    """Raises ValueError where there is no pad token, or (distinct) where it is the end of text too."""
    name = repr(tokenizer.name_or_path or "given")
    advice = (
        "name a token that no text contains (tokenizer.pad_token = ...), or add one (tokenizer.add_special_tokens"
        "({'pad_token': '<|pad|>'}), then model.resize_token_embeddings(len(tokenizer))), and save both"
    )
    if tokenizer.pad_token_id is None:
        raise ValueError(f"the tokenizer {name} has no pad token: {advice}")
    if distinct and tokenizer.pad_token_id == tokenizer.eos_token_id:
        raise ValueError(
            f"the tokenizer {name} pads with the end of text, {tokenizer.eos_token!r}: a reward is read at the end of "
            f"text, which must not look like padding; {advice}"
        )


def check_lengths(lengths: Sequence[int], max_tokens: int, source: str, text: Callable[[int], str]) -> None:
    """Raises ValueError, which counts the records over the limit and shows the longest.

    lengths: tokens of each record's longest sequence. source: where the records come from. text: the beginning of
    one, to find it by.
    """
    over = sum(length > max_tokens for length in lengths)
    if over:
        longest = max(range(len(lengths)), key=lengths.__getitem__)
        raise ValueError(
            f"{source}: {over} of {len(lengths)} records are too long, the limit max_tokens is {max_tokens}; the "
            f"longest is record {longest} with {lengths[longest]} tokens: {text(longest)[:_QUOTED]!r}. "
            "Raise max_tokens, or leave these records out"
        )
