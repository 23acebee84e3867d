"""The models that a run starts from, as its settings name them: a folder, a bundled checkpoint, a name on the Hub."""

import copy
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from reward.template import ConversationTemplate
from training.labs import lab, model_path
from training.policy.completion_logprobs import same_vocabulary
from training.policy.logprobs import load_without_dropout
from training.run.checks import check_model
from training.run.config import ConfigError, loading


def pretrained(
    setting: str, name: str, *, kind: Any = AutoModelForCausalLM, dropout: bool = False
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model of that class of transformers in float32, and its tokenizer.

    Raises ConfigError, which begins with the `setting`, where there is none.
    """
    path = model_path(name)
    with loading(setting):
        tokenizer = AutoTokenizer.from_pretrained(path)
        if not dropout:
            return load_without_dropout(path, torch.float32, kind), tokenizer
        return kind.from_pretrained(path, dtype=torch.float32), tokenizer


def start_policy(name: str, *, max_tokens: int, dropout: bool = False) -> tuple[PreTrainedModel, ConversationTemplate]:
    """The policy to train, and its template. Raises ConfigError where there is none, ValueError where it cannot be."""
    model, tokenizer = pretrained("model", name, dropout=dropout)
    check_model(model, tokenizer, max_tokens)
    return model, ConversationTemplate(tokenizer)


def start_fresh(lab_name: str, *, seed: int, max_tokens: int) -> tuple[PreTrainedModel, ConversationTemplate]:
    """The small Llama of a lab, untrained, with its template. Raises ValueError where it reads fewer tokens."""
    from training.labs.models import fresh_policy

    tokenizer = lab(lab_name).tokenizer()
    model = fresh_policy(tokenizer, seed=seed)
    check_model(model, tokenizer, max_tokens)
    return model, ConversationTemplate(tokenizer)


def start_reference(
    name: str, policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, policy_name: str
) -> torch.nn.Module:
    """The model of that name, or a copy of the policy where the name is empty; nothing trains it.

    Raises ConfigError where there is none, or it does not read the policy's tokens.
    """
    reference: torch.nn.Module
    if name:
        reference, its_tokenizer = pretrained("reference", name)
        if not same_vocabulary(tokenizer, its_tokenizer):
            raise ConfigError(
                f"reference: {name!r} has another tokenizer or chat template than the policy {policy_name!r}, "
                "so that their log-probabilities cannot be compared"
            )
    else:
        reference = copy.deepcopy(policy)
    frozen: torch.nn.Module = reference.requires_grad_(False).eval()
    return frozen
