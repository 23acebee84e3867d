"""What PPO trains and what it asks: policy with value function, reference, reward model, and the engine that samples.

Everything that can be wrong with models and prompts is found here, before any work.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from reward.batching import score_sequences
from reward.config import RewardConfig, combine
from reward.model import load, max_positions
from reward.template import ConversationTemplate
from training.data.read import DataError, read_demonstrations, read_prompts
from training.data.records import Conversation, Demonstration
from training.labs import lab, model_path
from training.policy.completion_logprobs import same_vocabulary
from training.policy.logprobs import (
    Answered,
    answered,
    answered_text,
    generation_start,
    load_without_dropout,
    token_logprobs,
)
from training.policy.rollout import Engine, TransformersEngine, VLLMEngine, end_tokens, prompt_tokens, resolve
from training.run import checkpoints
from training.run.checks import check_model
from training.run.config import ConfigError, loading
from training.run.settings import PPOConfig

Tensors = Mapping[str, torch.Tensor]


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


class Scorer:
    """The reward model: normalised rewards of whole answers, read as text."""

    def __init__(self, path: str, device: torch.device, dtype: torch.dtype) -> None:
        self._model, self.template = load(path, device, dtype)
        self._config = RewardConfig.of(self._model.config)
        self.max_positions = max_positions(self._model.config)

    def rewards(self, prompts: Sequence[Conversation], texts: Sequence[str]) -> list[float]:
        """One for each prompt with its text. Raises FloatingPointError where one is not finite."""
        pairs = zip(prompts, texts, strict=True)
        sequences = [self.template.tokens(self.template.prompt(prompt), text) for prompt, text in pairs]
        rewards = [combine(raw, self._config)[0] for raw in score_sequences(self._model, sequences)]
        if not all(map(math.isfinite, rewards)):
            raise FloatingPointError("the reward model gives a reward that is not finite")
        return rewards


@dataclass(frozen=True)
class Cast:
    """All that takes part in a run. reference: None where it is the policy without its adapters (LoRA)."""

    tokenizer: PreTrainedTokenizerBase
    ends: frozenset[int]
    actor_critic: ActorCritic
    reference: PreTrainedModel | None
    scorer: Scorer
    source: str  # of the prompts, for people
    prompts: list[Conversation]
    response_tokens: int
    demonstrations: list[Answered]


def gather(config: PPOConfig, device: torch.device) -> Cast:
    """Load and check everything. Raises ValueError, which names the setting, where it does not fit together."""
    path, reward_path = model_path(config.model), model_path(config.reward_model)
    with loading("model"):
        tokenizer = AutoTokenizer.from_pretrained(path)
        policy = load_without_dropout(path, torch.float32)
    check_model(policy, tokenizer, config.max_tokens)
    with loading("reward_model"):
        reward_tokenizer = AutoTokenizer.from_pretrained(reward_path)
        value = load_without_dropout(reward_path, torch.float32, AutoModelForSequenceClassification)
    if config.reference and not same_vocabulary(tokenizer, AutoTokenizer.from_pretrained(model_path(config.reference))):
        raise ConfigError(f"reference: {config.reference!r} has another tokenizer than the policy {config.model!r}")
    if reward_tokenizer.get_vocab() != tokenizer.get_vocab():
        raise ConfigError(
            f"reward_model: {config.reward_model!r} has another tokenizer than the policy {config.model!r}, and the "
            "value function, which starts at the reward model, must read the policy's tokens"
        )
    dtype = torch.bfloat16 if config.bf16 else torch.float32
    scorer = Scorer(reward_path, device, dtype)
    prompts, source = _prompts(config)
    response_tokens = _response_tokens(config, tokenizer, scorer, prompts)
    return Cast(
        tokenizer=tokenizer,
        ends=end_tokens(policy, tokenizer),
        actor_critic=_actor_critic(config, policy, value),
        reference=_reference(config, path, device),
        scorer=scorer,
        source=source,
        prompts=prompts,
        response_tokens=response_tokens,
        demonstrations=_demonstrations(config, ConversationTemplate(tokenizer)),
    )


def engine(kind: str, policy: Any, cast: Cast, path: str) -> Engine:
    """Samples `policy`: transformers the module itself, vLLM a copy that takes its weights with `load_weights`."""
    return VLLMEngine(path) if resolve(kind) == "vllm" else TransformersEngine(policy, cast.tokenizer)


def _actor_critic(config: PPOConfig, policy: PreTrainedModel, value: PreTrainedModel) -> ActorCritic:
    """Rollout and update must see the same policy, so there is no dropout (Ziegler et al. 2019, section 2.1)."""
    reward = RewardConfig.of(value.config)
    if config.gradient_checkpointing:
        for model in (policy, value):
            model.gradient_checkpointing_enable()
    adapted_value = checkpoints.adapted(value, config, fully_trained=("score",))
    return ActorCritic(checkpoints.adapted(policy, config), adapted_value, reward)


def _reference(config: PPOConfig, path: str, device: torch.device) -> PreTrainedModel | None:
    if config.lora_rank and not config.reference:
        return None
    with loading("reference"):
        model: Any = AutoModelForCausalLM.from_pretrained(model_path(config.reference) or path, dtype=torch.float32)
    reference: PreTrainedModel = model.to(device).eval().requires_grad_(False)
    return reference


def _prompts(config: PPOConfig) -> tuple[list[Conversation], str]:
    """The prompts, and what they are for people."""
    if config.data:
        prompts, report = read_prompts(config.data, split=config.split)
        return prompts, report.summary()
    world = lab(config.lab, config.lab_options)
    return world.prompts(config.prompts, "train", seed=config.seed + 2), f"{config.prompts} prompts of `{config.lab}`"


def _response_tokens(
    config: PPOConfig, tokenizer: PreTrainedTokenizerBase, scorer: Scorer, prompts: Sequence[Conversation]
) -> int:
    """How long an answer may be. Raises DataError where the longest prompt leaves no room for it."""
    wanted = config.response_tokens or (lab(config.lab).answer_tokens if config.lab else 0)
    longest = max(prompts, key=lambda messages: len(prompt_tokens(tokenizer, messages)))
    left = config.max_tokens - len(prompt_tokens(tokenizer, longest))
    if left < max(wanted, 1):
        raise DataError(
            f"the longest prompt leaves {left} of max_tokens = {config.max_tokens} for an answer, "
            f"{max(wanted, 1)} are asked for (response_tokens): {str(longest[-1]['content'])[:60]!r}"
        )
    response_tokens = wanted or left
    read = len(scorer.template.tokens(scorer.template.prompt(longest), "")) + response_tokens
    if scorer.max_positions and read > scorer.max_positions:
        raise DataError(f"the reward model reads {scorer.max_positions} tokens, the longest answer makes {read}")
    return response_tokens


def _demonstrations(config: PPOConfig, template: ConversationTemplate) -> list[Answered]:
    """PPO-ptx's, as token ids."""
    if not config.pretraining_data:
        return []
    records: list[Demonstration]
    if config.pretraining_data == "lab":
        if not config.lab:
            raise ConfigError("pretraining_data: `lab` needs the setting lab; name a file or a dataset")
        made = lab(config.lab, config.lab_options).demonstrations(config.prompts, seed=config.seed)
        records = list(made)
    else:
        records = read_demonstrations(config.pretraining_data, split=config.split)[0]
    found = []
    for record in records:
        if record.messages:
            prompt = template.prompt(record.messages)
            found.append(answered(template, prompt, generation_start(template, prompt), record.completion))
        else:
            found.append(answered_text(template.tokenizer, record.completion))
    if (longest := max(len(demonstration.tokens) for demonstration in found)) > config.max_tokens:
        raise DataError(f"pretraining_data: a demonstration has {longest} tokens, max_tokens is {config.max_tokens}")
    return found
