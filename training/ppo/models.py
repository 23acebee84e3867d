"""What PPO trains and what it asks: policy with value function, reference, reward model, and what samples the policy.

All that can be wrong with models is found here, before any work.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import AutoModelForSequenceClassification

from reward.batching import score_sequences
from reward.config import RewardConfig, combine
from reward.model import load, max_positions
from reward.template import ConversationTemplate
from training.data.read import DataError
from training.data.records import Conversation
from training.labs import model_path
from training.policy.logprobs import Answered, answer_logprobs, token_logprobs
from training.policy.rollout import (
    TokenSampler,
    TransformersSampler,
    VLLMSampler,
    end_tokens,
    prompt_tokens,
    resolve,
)
from training.ppo.data import AnswerTokens, Prompts, Tensors
from training.run import checkpoints
from training.run.config import ConfigError
from training.run.pretrained import pretrained, start_policy, start_reference


class ActorCritic(torch.nn.Module):
    """Policy and value function, which share no weights, as one module for the optimizer and for accelerate."""

    def __init__(self, policy: torch.nn.Module, value: torch.nn.Module, reward: RewardConfig) -> None:
        super().__init__()
        self.policy, self.value = policy, value
        self._mean, self._std = reward.mean, reward.std

    def forward(self, batch: Tensors, entropy: bool = True) -> dict[str, torch.Tensor]:
        """`logprobs`, `entropy` of the answers' tokens and the `values` before them, float32, [answers, longest].

        What stands outside the answers has no meaning. batch: as `logprobs.padded` makes it.
        """
        tokens, mask = batch["input_ids"], batch["attention_mask"]
        first = int(batch["answer"].any(0).int().argmax())
        kept = tokens.shape[1] - first + 1
        logits = self.policy(input_ids=tokens, attention_mask=mask, logits_to_keep=kept, use_cache=False).logits[:, :-1]
        value: Any = self.value
        hidden = value.get_decoder()(input_ids=tokens, attention_mask=mask, use_cache=False)[0]
        values = value.score(hidden[:, first - 1 : -1]).float().mean(-1)
        known = {
            "logprobs": token_logprobs(logits, tokens[:, first:]),
            "values": (values - self._mean) / self._std,
        }
        if entropy:
            known["entropy"] = torch.stack([_entropy(row) for row in logits])  # one row of float32 at a time
        return {name: pad(value, (first, 0)) for name, value in known.items()}


@torch.no_grad()
def _entropy(logits: torch.Tensor) -> torch.Tensor:
    logprobs = torch.log_softmax(logits.float(), -1)
    return -(logprobs.exp() * logprobs).sum(-1)


class AnswerReward:
    """The reward model: normalised rewards of whole answers, read as text."""

    def __init__(self, path: str, device: torch.device, dtype: torch.dtype) -> None:
        self._model, self._template = load(path, device, dtype)
        self._config = RewardConfig.of(self._model.config)
        self._max_positions = max_positions(self._model.config)

    def check_length(self, prompt: Conversation, response_tokens: int) -> None:
        """Raises DataError where so long an answer to this prompt is more than the model reads."""
        read = len(self._template.tokens(self._template.prompt(prompt), "")) + response_tokens
        if self._max_positions and read > self._max_positions:
            raise DataError(f"the reward model reads {self._max_positions} tokens, the longest answer makes {read}")

    def rewards(self, prompts: Prompts, texts: Sequence[str]) -> list[float]:
        """One for each prompt with its text. Raises FloatingPointError where one is not finite."""
        pairs = zip(prompts, texts, strict=True)
        sequences = [self._template.tokens(self._template.prompt(prompt), text) for prompt, text in pairs]
        rewards = [combine(raw, self._config)[0] for raw in score_sequences(self._model, sequences)]
        if not all(map(math.isfinite, rewards)):
            raise FloatingPointError("the reward model gives a reward that is not finite")
        return rewards


@dataclass(frozen=True)
class Models:
    """All that takes part in a run."""

    template: ConversationTemplate
    """The policy's."""
    ends: frozenset[int]
    """The ids that end an answer."""
    actor_critic: ActorCritic
    """Policy and value function: what is trained."""
    reference: torch.nn.Module | None
    """None: the policy without its adapters (LoRA)."""
    reward_model: AnswerReward
    lora_scaling: float | None
    """Of the policy's adapters; None: it has none."""

    def answers(self, sampler: TokenSampler, prompts: Prompts, *, max_tokens: int, seed: int) -> AnswerTokens:
        """One answer to each prompt, at temperature 1."""
        asked = [prompt_tokens(self.template.tokenizer, messages) for messages in prompts]
        drawn = sampler.generate(asked, max_tokens=max_tokens, seed=seed, temperature=1.0)
        return [Answered((*prompt, *answer), len(prompt)) for prompt, answer in zip(asked, drawn, strict=True)]

    def texts(self, answers: AnswerTokens) -> list[str]:
        """The answers without their prompts, as text."""
        decode = self.template.tokenizer.decode
        return [str(decode(list(a.tokens[a.start :]), skip_special_tokens=True)) for a in answers]

    def reference_logprobs(self, batch: Tensors) -> Tensors:
        """`logprobs` of the answers' tokens, [answers, longest]."""
        if self.reference is not None:
            return {"logprobs": answer_logprobs(self.reference, batch)}
        policy: Any = self.actor_critic.policy
        with policy.disable_adapter():
            return {"logprobs": answer_logprobs(policy, batch)}

    def refresh(self, sampler: TokenSampler) -> None:
        """Give the policy's weights, as they are now, to a sampler that has a copy of them."""
        if isinstance(sampler, VLLMSampler):
            weights = self.actor_critic.policy.state_dict()
            plain = weights if self.lora_scaling is None else checkpoints.merged(weights, self.lora_scaling)
            sampler.load_weights(plain.items())

    def save_policy(self, folder: Path, *, dtype: str) -> None:
        """As a plain checkpoint, in this precision."""
        policy, tokenizer = self.actor_critic.policy, self.template.tokenizer
        checkpoints.save(policy, tokenizer, folder, dtype=dtype, lora_scaling=self.lora_scaling)


def load_models(
    model: str,
    reward_model: str,
    reference: str,
    *,
    max_tokens: int,
    bf16: bool,
    gradient_checkpointing: bool,
    lora_rank: int,
    lora_alpha: float,
    seed: int,
    device: torch.device,
) -> Models:
    """Load and check everything. Raises ValueError, which names the setting, where it does not fit together."""
    policy, template = start_policy(model, max_tokens=max_tokens)
    value, its_tokenizer = pretrained("reward_model", reward_model, kind=AutoModelForSequenceClassification)
    frozen = None
    if reference or not lora_rank:
        frozen = start_reference(reference, policy, template.tokenizer, model).to(device)
    if its_tokenizer.get_vocab() != template.tokenizer.get_vocab():
        raise ConfigError(
            f"reward_model: {reward_model!r} has another tokenizer than the policy {model!r}, and the "
            "value function, which starts at the reward model, must read the policy's tokens"
        )
    scorer = AnswerReward(model_path(reward_model), device, torch.bfloat16 if bf16 else torch.float32)
    ends = end_tokens(policy, template.tokenizer)
    if gradient_checkpointing:
        for trained in (policy, value):
            trained.gradient_checkpointing_enable()
    lora: Any = {"lora_rank": lora_rank, "lora_alpha": lora_alpha, "seed": seed}
    adapted_policy = checkpoints.adapted(policy, **lora)
    adapted_value = checkpoints.adapted(value, **lora, fully_trained=("score",))
    return Models(
        template=template,
        ends=ends,
        actor_critic=ActorCritic(adapted_policy, adapted_value, RewardConfig.of(value.config)),
        reference=frozen,
        reward_model=scorer,
        lora_scaling=lora_alpha / lora_rank if lora_rank else None,
    )


def token_sampler(kind: str, model: str, models: Models) -> TokenSampler:
    """Samples the policy: transformers the module itself, vLLM a copy of `model` that `Models.refresh` keeps alike."""
    if resolve(kind) == "vllm":
        return VLLMSampler(model_path(model))
    policy: Any = models.actor_critic.policy
    return TransformersSampler(policy, models.template.tokenizer)
