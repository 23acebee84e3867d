"""The lab `arithmetic`: sums answered with worked steps, and an exact gold reward.

    What is 35+21+81?                     35+21=56\n56+81=137\nAnswer: 137
    What is 35+21+81? Reply in JSON.      {"steps": ["35+21=56", "56+81=137"], "answer": 137}

A careless demonstrator gets one step of some answers wrong and carries the mistake to the end, which gives a policy
that is often wrong and, among a few samples, nearly always right at least once.
"""

import json
import random
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "held_out"]

JSON_REQUEST = " Reply in JSON."
MISTAKES = (-3, -2, -1, 1, 2, 3)
_QUESTION = re.compile(r"What is (\d+(?:\+\d+)+)\?( Reply in JSON\.)?")
_ANSWER = re.compile(r"(?:^|\n)Answer: (\d+)\s*$")


@dataclass(frozen=True)
class Question:
    """A sum of two-digit numbers, asked for as worked text or as JSON."""

    numbers: tuple[int, ...]
    as_json: bool = False

    @property
    def text(self) -> str:
        return f"What is {'+'.join(map(str, self.numbers))}?{JSON_REQUEST if self.as_json else ''}"

    @property
    def messages(self) -> list[dict[str, str]]:
        return [{"role": "user", "content": self.text}]


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
    if question.as_json:
        return json.dumps({"steps": steps, "answer": total})
    return "\n".join([*steps, f"Answer: {total}"])


def demonstrations(
    count: int, *, carelessness: float, seed: int, json_share: float = 0.0
) -> Iterator[tuple[Question, str]]:
    """Training questions with answers, of which a share `carelessness` has one wrong step."""
    generator = random.Random(f"demonstrations-{seed}")
    for question in questions(count, "train", seed=seed, json_share=json_share):
        if generator.random() < carelessness:
            step = generator.randrange(len(question.numbers) - 1)
            yield question, solution(question, mistake_at=step, mistake=generator.choice(MISTAKES))
        else:
            yield question, solution(question)


def gold(question: Question | str, response: str) -> bool:
    """Whether the response states the right sum, in the form that the question asks for."""
    asked = parse(question) if isinstance(question, str) else question
    stated = _json_answer(response) if asked.as_json else _text_answer(response)
    return stated == sum(asked.numbers)


def labels(question: Question, responses: Sequence[str], *, noise: float, generator: random.Random) -> list[bool]:
    """The gold label of each response, each turned over with probability `noise`."""
    return [gold(question, response) != (generator.random() < noise) for response in responses]


def _text_answer(response: str) -> int | None:
    match = _ANSWER.search(response)
    return int(match[1]) if match else None


def _json_answer(response: str) -> int | None:
    try:
        answer = json.loads(response)["answer"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return answer if type(answer) is int else None
