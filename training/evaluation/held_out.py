"""All the answers of a policy to held-out prompts that its free baselines need, and what the policy thinks of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from measuring.estimators import Floats
from reward.template import ConversationTemplate
from training.data.records import Comparison, Conversation
from training.evaluation.baselines import GREEDY, Pool, Single
from training.evaluation.measure import SEED, gold
from training.evaluation.policy import load_policy
from training.labs import model_path
from training.labs.lab import Lab
from training.policy.completion_logprobs import certainty, sampled_tokens
from training.policy.rollout import sampler
from training.samples.preferences import draw

LOW_TEMPERATURES = (0.3, 0.7)
_SINGLES = 4  # answers to each prompt at each of them


@runtime_checkable
class Answering(Protocol):
    """A lab whose responses state an answer that a vote can compare."""

    def answer_of(self, prompt: Conversation, response: str) -> str | None:
        """The answer, in one form for all that are equal; None where the response states none."""


@dataclass(frozen=True)
class HeldOut:
    """Answers to the same prompts: N samples at temperature 1, and by name those of other ways to give one."""

    samples: list[Comparison]
    singles: dict[str, list[Comparison]]


def held_out(world: Lab, policy: str | Path, *, kind: str, prompts: int, count: int, seed: int = SEED) -> HeldOut:
    """`count` samples of the policy to each of `prompts` held-out prompts, its greedy answer, and colder samples."""
    asked = world.prompts(prompts, "held_out", seed=SEED)
    limit = world.answer_tokens
    with sampler(kind, model_path(str(policy))) as drawing:
        samples = draw(drawing, asked, count=count, max_tokens=limit, seed=seed)
        singles = {GREEDY: draw(drawing, asked, count=1, max_tokens=limit, seed=seed, temperature=0.0)}
        for temperature in LOW_TEMPERATURES:
            singles[at_temperature(temperature)] = draw(
                drawing, asked, count=min(_SINGLES, count), max_tokens=limit, seed=seed, temperature=temperature
            )
    return HeldOut(samples, singles)


def at_temperature(temperature: float) -> str:
    """The name of one sample at this temperature."""
    return f"temperature {temperature:g}"


def pool_of(world: Lab, policy: str | Path, drawn: HeldOut, reward: Sequence[Floats] | None = None) -> Pool:
    """reward: of each prompt's samples; None: without a reward model."""
    model, template = load_policy(policy)
    limit = world.answer_tokens
    found = certainty(model, template, drawn.samples, max_tokens=limit)
    return Pool(
        gold=gold(world, drawn.samples),
        tokens=found.tokens,
        reward=None if reward is None else np.array(reward),
        logprob=found.logprob,
        self_certainty=found.self_certainty,
        answers=answers(world, drawn.samples),
        singles={
            name: Single(gold(world, given), _tokens(template, given, limit)) for name, given in drawn.singles.items()
        },
    )


def answers(world: Lab, samples: Sequence[Comparison]) -> list[list[str | None]] | None:
    """What each response states, [prompts, samples]; None where the lab has no answers."""
    if not isinstance(world, Answering):
        return None
    return [[world.answer_of(sample.messages, text) for text in sample.responses] for sample in samples]


def _tokens(template: ConversationTemplate, samples: Sequence[Comparison], limit: int) -> Floats:
    rows = [sampled_tokens(template, sample, limit) for sample in samples]
    return np.array([[len(one.tokens) - one.start for one in row] for row in rows], float)
