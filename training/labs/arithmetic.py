"""The lab `arithmetic`: sums answered with worked steps, and an exact gold reward.

    What is 35+21+81?                     35+21=56\n56+81=137\nAnswer: 137
    What is 35+21+81? Reply in JSON.      {"steps": ["35+21=56", "56+81=137"], "answer": 137}

A careless demonstrator gets one step of some answers wrong and carries the mistake to the end, which gives a policy
that is often wrong and, among a few samples, nearly always right at least once.
"""

import random
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from training.data.records import Conversation, Demonstration, user
from training.labs.lab import LabOptionsError, Split
from training.labs.worked_answer import JSON_REQUEST, judged, stated, stated_text, written

MISTAKES = (-3, -2, -1, 1, 2, 3)
_QUESTION = re.compile(r"What is (\d+(?:\+\d+)+)\?( Reply in JSON\.)?")


@dataclass(frozen=True)
class Question:
    """A sum of two-digit numbers, asked for as worked text or as JSON."""

    numbers: tuple[int, ...]
    as_json: bool = False

    @property
    def text(self) -> str:
        return f"What is {'+'.join(map(str, self.numbers))}?{JSON_REQUEST if self.as_json else ''}"

    @property
    def messages(self) -> Conversation:
        return user(self.text)


@dataclass(frozen=True)
class Arithmetic:
    """The lab; its fields are its options."""

    carelessness: float = 0.0  # share of demonstrations with one wrong step
    json_share: float = 0.0  # of questions that ask for JSON

    name = "arithmetic"
    answer_tokens = 96

    def __post_init__(self) -> None:
        for name in ("carelessness", "json_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise LabOptionsError(f"{name}: must be between 0 and 1, got {getattr(self, name)}")

    def prompts(self, count: int, split: Split, *, seed: int) -> list[Conversation]:
        return [question.messages for question in questions(count, split, seed=seed, json_share=self.json_share)]

    def demonstrations(self, count: int, *, seed: int) -> Iterator[Demonstration]:
        generator = random.Random(f"demonstrations-{seed}")
        for question in questions(count, "train", seed=seed, json_share=self.json_share):
            careless = generator.random() < self.carelessness
            step = generator.randrange(len(question.numbers) - 1) if careless else None
            mistake = generator.choice(MISTAKES) if careless else 0
            yield Demonstration(question.messages, solution(question, mistake_at=step, mistake=mistake))

    def gold(self, prompt: Conversation, response: str) -> float:
        """1 where the answer is right, else 0."""
        return float(gold(_question(prompt), response))

    def answer_of(self, prompt: Conversation, response: str) -> str | None:
        """The number that a response states in the form that was asked for; None where it states none."""
        return stated_text(response, as_json=_question(prompt).as_json)

    def judge(
        self, prompt: Conversation, responses: Sequence[str], *, noise: float, generator: random.Random
    ) -> list[float]:
        """The gold reward of each response, turned over with probability `noise`."""
        question = _question(prompt)
        return judged((gold(question, text) for text in responses), noise=noise, generator=generator)

    def tokenizer(self) -> Any:
        from training.labs.tokenizer import byte_tokenizer

        return byte_tokenizer()


def parse(text: str) -> Question:
    """The question in a user's message. Raises ValueError when it is not one of this lab's."""
    match = _QUESTION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"not a question of the arithmetic lab: {text!r}")
    return Question(tuple(map(int, match[1].split("+"))), as_json=match[2] is not None)


def split_of(numbers: Sequence[int]) -> Split:
    """One tenth of all sums is held out; the order of the numbers does not matter, so no sum is on both sides."""
    key = ",".join(map(str, sorted(numbers)))
    return "held_out" if zlib.crc32(key.encode()) % 10 == 0 else "train"


def questions(count: int, split: Split, *, seed: int, json_share: float = 0.0) -> list[Question]:
    """`count` different questions of 3 or 4 numbers from one side of the split."""
    found: dict[Question, None] = {}
    generator = random.Random(f"{split}-{seed}")
    while len(found) < count:
        numbers = tuple(generator.randint(10, 99) for _ in range(generator.choice((3, 4))))
        if split_of(numbers) == split:
            found.setdefault(Question(numbers, as_json=generator.random() < json_share))
    return list(found)


def solution(question: Question, *, mistake_at: int | None = None, mistake: int = 0) -> str:
    """The worked answer; `mistake` is added to the result of step `mistake_at` (from 0) and carried on."""
    total, steps = question.numbers[0], []
    for index, number in enumerate(question.numbers[1:]):
        result = total + number + (mistake if index == mistake_at else 0)
        steps.append(f"{total}+{number}={result}")
        total = result
    return written(steps, total, as_json=question.as_json)


def gold(question: Question | str, response: str) -> bool:
    """Whether the response states the right sum, in the form that the question asks for."""
    asked = parse(question) if isinstance(question, str) else question
    return stated(response, as_json=asked.as_json) == sum(asked.numbers)


def _question(prompt: Conversation) -> Question:
    return parse(str(prompt[-1]["content"]))
