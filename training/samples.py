"""A policy's own answers to a lab's questions: what preference pairs are made of, and what is measured."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from training.config import RewardModelConfig
from training.data import Preference
from training.labs import arithmetic
from training.labs.arithmetic import Question
from training.rollout import Sampler


@dataclass(frozen=True)
class Samples:
    """The answers that the policy gave to one question."""

    question: Question
    responses: tuple[str, ...]


def draw(policy: Sampler, questions: Sequence[Question], *, count: int, max_tokens: int, seed: int) -> list[Samples]:
    """`count` answers to each question."""
    conversations = [question.messages for question in questions]
    answers = policy.sample(conversations, count=count, max_tokens=max_tokens, seed=seed)
    return [Samples(question, tuple(texts)) for question, texts in zip(questions, answers, strict=True)]


def write(path: Path, samples: Sequence[Samples]) -> None:
    """One line for each question, whole or not at all."""
    lines = (json.dumps({"prompt": s.question.text, "responses": s.responses}) for s in samples)
    partial = path.with_suffix(".partial")
    partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
    partial.replace(path)


def read(path: Path) -> list[Samples]:
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return [Samples(arithmetic.parse(row["prompt"]), tuple(row["responses"])) for row in rows]


def pairs(samples: Sequence[Samples], config: RewardModelConfig) -> list[Preference]:
    """Pairs of a right and a wrong answer to one question, as a labeller with `label_noise` sees them.

    Pairs across questions would teach which question is hard, not which answer is right. Equal answers count once,
    so that a rare mistake weighs as much as a common one; every wrong answer is in at most one pair.
    """
    generator = random.Random(f"pairs-{config.seed}")
    found = []
    for sample in samples:
        responses = list(dict.fromkeys(sample.responses))
        generator.shuffle(responses)
        marks = arithmetic.labels(sample.question, responses, noise=config.label_noise, generator=generator)
        right = [text for text, mark in zip(responses, marks, strict=True) if mark]
        wrong = [text for text, mark in zip(responses, marks, strict=True) if not mark]
        messages = tuple(sample.question.messages)
        if right:
            matched = zip(cycle(right), wrong[: config.pairs_per_question], strict=False)
            found += [Preference(messages, chosen, rejected) for chosen, rejected in matched]
    return found
