"""Prompts with answers as padded token ids, and the log-probability of each token of an answer while a policy learns.

An answer is what follows the prompt as a policy is asked, its end of turn included. DPO and PPO share this.
"""

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import pad
from torch.utils.checkpoint import checkpoint
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from reward.template import ConversationTemplate, Prompt, common_length
from training.policy.rollout import prompt_tokens


def load_without_dropout(path: str, dtype: torch.dtype, kind: Any = AutoModelForCausalLM) -> PreTrainedModel:
    """The model at `path` as this class of transformers, with every dropout in its config at 0.

    What is learned from and what learns must be the same policy (Ziegler et al. 2019, section 2.1). A checkpoint saved
    from it has no dropout either.
    """
    config = AutoConfig.from_pretrained(path)
    for part in (config, config.get_text_config()):
        for name, value in part.to_dict().items():
            if "drop" in name and isinstance(value, float):
                setattr(part, name, 0.0)
    model: PreTrainedModel = kind.from_pretrained(path, config=config, dtype=dtype)
    return model


@dataclass(frozen=True)
class Answered:
    """Token ids of a conversation with its answer, which begins at index `start` (at least 1)."""

    tokens: Sequence[int]
    start: int


def answered(template: ConversationTemplate, prompt: Prompt, start: Sequence[int], response: str) -> Answered:
    """`start` is what `generation_start` gives for the prompt."""
    tokens = array("i", template.tokens(prompt, response))  # a ninth of a list's memory: a run holds all its data
    return Answered(tokens, max(1, common_length(start, tokens)))


def answered_text(tokenizer: PreTrainedTokenizerBase, text: str) -> Answered:
    """Plain text, as in pretraining: all but its first token is the answer, and the end of text closes it."""
    tokens = list(tokenizer(text)["input_ids"])
    return Answered(tokens if tokens[-1:] == [tokenizer.eos_token_id] else [*tokens, tokenizer.eos_token_id], 1)


def generation_start(template: ConversationTemplate, prompt: Prompt) -> list[int]:
    """The ids after which a policy begins to answer."""
    return prompt_tokens(template.tokenizer, prompt.messages)


def padded(sequences: Sequence[Answered], pad_token_id: int) -> dict[str, torch.Tensor]:
    """`input_ids`, `attention_mask` and `answer`, which is true at the answer's tokens; each [sequences, longest].

    Pads on the right.
    """
    lengths = torch.tensor([len(sequence.tokens) for sequence in sequences])
    starts = torch.tensor([sequence.start for sequence in sequences])
    positions = torch.arange(longest := int(lengths.max()))
    inside = positions < lengths[:, None]
    rows = [[*sequence.tokens, *[pad_token_id] * (longest - len(sequence.tokens))] for sequence in sequences]
    return {
        "input_ids": torch.tensor(rows),
        "attention_mask": inside.long(),
        "answer": inside & (positions >= starts[:, None]),
    }


def answer_logprobs(model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The log-probability of each token of the answers, in nats and float32, [sequences, longest]; 0 elsewhere.

    `batch` as `padded` makes it. Logits are computed only from where the first answer begins.
    """
    tokens, answer = batch["input_ids"], batch["answer"]
    logits, first = _answer_logits(model, batch)
    return torch.where(answer, pad(token_logprobs(logits, tokens[:, first:]), (first, 0)), 0.0)


def answer_certainties(model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """`answer_logprobs`, and each token's self-certainty; both in nats, float32, [sequences, longest], 0 elsewhere.

    Self-certainty is KL(uniform || p) = -(1/V) sum_j log(V p_j) over the vocabulary of V, as the model has it where
    the token was drawn (Kang et al. 2025, "Scalable best-of-N selection via self-certainty").
    """
    tokens, answer = batch["input_ids"], batch["answer"]
    logits, first = _answer_logits(model, batch)
    normaliser = _log_normaliser(logits)
    chosen = logits.gather(-1, tokens[:, first:].unsqueeze(-1)).squeeze(-1).float()
    certain = normaliser - logits.float().mean(-1) - math.log(logits.shape[-1])
    both = (chosen - normaliser, certain)
    logprobs, certainties = (torch.where(answer, pad(values, (first, 0)), 0.0) for values in both)
    return logprobs, certainties


def _answer_logits(model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, int]:
    """What predicts each token from where the first answer begins, [sequences, longest - first, V], and `first`."""
    first = int(batch["answer"].any(0).int().argmax())
    kept = batch["input_ids"].shape[1] - first + 1  # the logits of the position before an answer predict its first
    output = model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], logits_to_keep=kept, use_cache=False
    )
    return output.logits[:, :-1], first


def token_logprobs(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """log softmax(logits) at `tokens`, in float32; logits [..., positions, vocabulary], tokens [..., positions].

    The logit less the log of the normaliser, so that no second tensor of the size of the logits is kept; in half
    precision the normaliser is taken row by row, and again in the backward pass, so that no float32 copy is kept.
    """
    chosen = logits.gather(-1, tokens.unsqueeze(-1)).squeeze(-1).float()
    if logits.dtype == torch.float32:
        return chosen - _log_normaliser(logits)
    rows = [checkpoint(_log_normaliser, row, use_reentrant=False, preserve_rng_state=False) for row in logits]
    return chosen - torch.stack(rows)


def _log_normaliser(logits: torch.Tensor) -> torch.Tensor:
    return torch.logsumexp(logits.float(), -1)
