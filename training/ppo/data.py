"""The prompts that PPO asks and the demonstrations of PPO-ptx; answers as padded batches, and what is known of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import pad

from reward.template import ConversationTemplate
from training.data.read import DataError, read_prompts
from training.data.records import Conversation, Demonstration
from training.labs.lab import Lab
from training.policy.logprobs import Answered, answered, answered_text, generation_start, padded
from training.policy.rollout import prompt_tokens
from training.run.config import ConfigError
from training.samples.demonstrations import lab_demonstrations, load_demonstrations

Prompts = Sequence[Conversation]
AnswerTokens = Sequence[Answered]
Tensors = Mapping[str, torch.Tensor]


class PPODataset:
    """Prompts, in an endless sequence in which every round is a new random order of all of them."""

    def __init__(self, prompts: Prompts, seed: int) -> None:
        self._prompts, self._seed = prompts, seed

    def draw(self, start: int, length: int) -> list[Conversation]:
        """So many of the sequence, from index `start` on."""
        return [self._prompts[index] for index in endless_order(len(self._prompts), start, length, self._seed)]


class PPOCollator:
    """Pads answers behind their prompts into one batch, as `logprobs.padded` does, on the device that trains."""

    def __init__(self, pad_token_id: int, device: torch.device) -> None:
        self._pad_token_id, self._device = pad_token_id, device

    def __call__(self, answers: AnswerTokens) -> Tensors:
        return {name: values.to(self._device) for name, values in padded(answers, self._pad_token_id).items()}


@dataclass(frozen=True)
class PPOData:
    """What a run asks and learns from."""

    prompts: PPODataset
    source: str
    """What the prompts are, for people."""
    longest: Conversation
    """The prompt of the most tokens."""
    response_tokens: int
    """How long an answer may be."""
    demonstrations: AnswerTokens
    """PPO-ptx's; empty without."""


@dataclass
class Rollout:
    """Answers to this process's share of the prompts, and what is known of them; tensors [answers, longest]."""

    batch: Tensors
    """`input_ids`, `attention_mask`, `answer` (true at the answer's tokens)."""
    scores: torch.Tensor
    """Of the reward model, [answers]."""
    ended: torch.Tensor
    """Whether the answer did, [answers]."""
    logprobs: torch.Tensor
    reference: torch.Tensor
    values: torch.Tensor

    @property
    def mask(self) -> torch.Tensor:
        return self.batch["answer"]

    @property
    def kl(self) -> torch.Tensor:
        """log(pi/pi_ref) summed over the tokens of each answer, [answers]."""
        return torch.where(self.mask, self.logprobs - self.reference, 0.0).sum(1)


def load_data(
    source: str,
    split: str,
    world: Lab | None,
    template: ConversationTemplate,
    *,
    prompts: int,
    response_tokens: int,
    pretraining_data: str,
    max_tokens: int,
    seed: int,
) -> PPOData:
    """Read the prompts of a source, or make so many different ones in a lab; and the demonstrations of PPO-ptx.

    Raises DataError, or ConfigError, where they do not fit together or into `max_tokens`.
    """
    if world:
        asked, summary = world.prompts(prompts, "train", seed=seed + 2), f"{prompts} prompts of `{world.name}`"
    else:
        asked, report = read_prompts(source, split=split)
        summary = report.summary()
    longest = max(asked, key=lambda messages: len(prompt_tokens(template.tokenizer, messages)))
    wanted = response_tokens or (world.answer_tokens if world else 0)
    return PPOData(
        prompts=PPODataset(asked, seed),
        source=summary,
        longest=longest,
        response_tokens=_response_tokens(longest, template, wanted, max_tokens),
        demonstrations=encode_demonstrations(
            pretraining_data, split, world, template, count=prompts, seed=seed, max_tokens=max_tokens
        ),
    )


def encode_demonstrations(
    source: str,
    split: str,
    world: Lab | None,
    template: ConversationTemplate,
    *,
    count: int,
    seed: int,
    max_tokens: int,
) -> AnswerTokens:
    """PPO-ptx's, as token ids: `count` of the lab where the source is `lab`; none where it is empty.

    Raises ConfigError where there is no lab, DataError where a demonstration is longer than `max_tokens`.
    """
    if not source:
        return []
    if source != "lab":
        records, _ = load_demonstrations(source, split)
    elif world:
        records, _ = lab_demonstrations(world, count, seed)
    else:
        raise ConfigError("pretraining_data: `lab` needs the setting lab; name a file or a dataset")
    encoded = [_encode(record, template) for record in records]
    if (longest := max(len(demonstration.tokens) for demonstration in encoded)) > max_tokens:
        raise DataError(f"pretraining_data: a demonstration has {longest} tokens, max_tokens is {max_tokens}")
    return encoded


def endless_order(count: int, start: int, length: int, seed: int) -> list[int]:
    """Items `start` ... of an endless sequence in which every round is a new random order of range(count)."""
    rounds = range(start // count, (start + length - 1) // count + 1)
    orders = [torch.randperm(count, generator=torch.Generator().manual_seed(seed * 1_000_003 + r)) for r in rounds]
    first = start - rounds[0] * count
    chosen: list[int] = torch.cat(orders)[first : first + length].tolist()
    return chosen


def cut(batch: Tensors, rows: torch.Tensor) -> tuple[dict[str, torch.Tensor], int]:
    """These rows, without the padding that all of them have, and their length."""
    longest = int(batch["attention_mask"][rows].sum(1).max())
    return {name: values[rows, :longest] for name, values in batch.items()}, longest


def in_parts(known: Callable[[Tensors], Tensors], batch: Tensors, size: int) -> Tensors:
    """`known` of the whole batch, in forward passes of `size` answers, each no longer than it must be."""
    longest = batch["input_ids"].shape[1]
    results = []
    for rows in torch.arange(len(batch["input_ids"])).split(size):
        part, width = cut(batch, rows)
        results.append({name: pad(values, (0, longest - width)) for name, values in known(part).items()})
    return {name: torch.cat([result[name] for result in results]) for name in results[0]}


def _encode(record: Demonstration, template: ConversationTemplate) -> Answered:
    if not record.messages:
        return answered_text(template.tokenizer, record.completion)
    prompt = template.prompt(record.messages)
    return answered(template, prompt, generation_start(template, prompt), record.completion)


def _response_tokens(prompt: Conversation, template: ConversationTemplate, wanted: int, max_tokens: int) -> int:
    """Behind the longest prompt: `wanted`, or where that is 0 what is left. Raises DataError where less is left."""
    left = max_tokens - len(prompt_tokens(template.tokenizer, prompt))
    if left < max(wanted, 1):
        raise DataError(
            f"the longest prompt leaves {left} of max_tokens = {max_tokens} for an answer, "
            f"{max(wanted, 1)} are asked for (response_tokens): {str(prompt[-1]['content'])[:60]!r}"
        )
    return wanted or left
