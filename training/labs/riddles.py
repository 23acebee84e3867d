"""The lab `riddles`: questions with a tempting wrong answer, and an exact gold reward.

    A bat and a ball cost 110 cents. The bat costs 100 cents more than the ball. What does the ball cost?

    tempting    110-100=10\nAnswer: 10          right    110-100=10\n10/2=5\nAnswer: 5

After the cognitive reflection test (Frederick 2005, "Cognitive reflection and decision making"), in which most people
give the answer that comes to mind. So do most demonstrators here: a policy that imitates them learns the mistake as the
usual answer, and greedy decoding, a majority vote and its own likelihood all repeat it. Each kind of riddle has a twin
in nearly the same words for which the tempting method is the right one.
"""

import random
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from training.data.records import Conversation, Demonstration, user
from training.labs.lab import LabOptionsError, Split
from training.labs.riddle_kinds import KINDS, Kind, Numbers, work
from training.labs.worked_answer import JSON_REQUEST, judged, stated, stated_text, written

_HELD_OUT_OF = 10
MOST_PROMPTS = {"train": 10_000, "held_out": 1_000}  # about half of those that there are of most kinds
_TRAPS = [kind for kind in KINDS if kind.tempting]
_TWINS = [kind for kind in KINDS if not kind.tempting]


@dataclass(frozen=True)
class Question:
    """A riddle with its numbers, asked for as worked text or as JSON."""

    kind: Kind
    numbers: Numbers
    as_json: bool = False

    @property
    def text(self) -> str:
        return self.kind.ask(self.numbers) + JSON_REQUEST * self.as_json

    @property
    def messages(self) -> Conversation:
        return user(self.text)

    @property
    def answer(self) -> int:
        return work(self.kind.right, self.numbers)[1]


@dataclass(frozen=True)
class Riddles:
    """The lab; its fields are its options."""

    trap_share: float = 0.7  # of questions whose tempting answer is wrong
    reflection: float = 1.0  # multiplies the share of demonstrators who see through each kind
    json_share: float = 0.0  # of questions that ask for JSON

    name = "riddles"
    answer_tokens = 96

    def __post_init__(self) -> None:
        for option in fields(self):
            if not 0 <= getattr(self, option.name) <= 1:
                raise LabOptionsError(f"{option.name}: must be between 0 and 1, got {getattr(self, option.name)}")

    def prompts(self, count: int, split: Split, *, seed: int) -> list[Conversation]:
        return [question.messages for question in self.questions(count, split, seed=seed)]

    def questions(self, count: int, split: Split, *, seed: int) -> list[Question]:
        """`count` different questions from one side of the split. Raises ValueError where there are not enough."""
        if count > MOST_PROMPTS[split]:
            raise ValueError(f"the lab riddles draws at most {MOST_PROMPTS[split]} {split} prompts, not {count}")
        found: dict[str, Question] = {}
        generator = random.Random(f"riddles-{split}-{seed}")
        while len(found) < count:
            question = self._draw(split, generator)
            found.setdefault(question.text, question)
        return list(found.values())

    def _draw(self, split: Split, generator: random.Random) -> Question:
        while True:
            kind = generator.choice(_TRAPS if generator.random() < self.trap_share else _TWINS)
            question = Question(kind, kind.draw(generator), as_json=generator.random() < self.json_share)
            if split_of(question) == split:
                return question

    def demonstrations(self, count: int, *, seed: int) -> Iterator[Demonstration]:
        """Several people may answer the same question."""
        generator = random.Random(f"demonstrations-{seed}")
        for _ in range(count):
            question = self._draw("train", generator)
            reflects = generator.random() < question.kind.reflective * self.reflection
            yield Demonstration(question.messages, solution(question, reflects=reflects))

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
        """The same whatever the options are."""
        from training.labs.tokenizer import byte_tokenizer

        return byte_tokenizer()


def parse(text: str) -> Question:
    """The question in a user's message. Raises ValueError when it is not one of this lab's."""
    text = text.strip()
    asked = text.removesuffix(JSON_REQUEST)
    for kind in KINDS:
        if (numbers := kind.read(asked)) is not None:
            return Question(kind, numbers, as_json=asked != text)
    raise ValueError(f"not a question of the lab riddles: {text!r}")


def split_of(question: Question) -> Split:
    """One tenth of all questions is held out, with and without JSON."""
    key = question.kind.ask(question.numbers)
    return "held_out" if zlib.crc32(key.encode()) % _HELD_OUT_OF == 0 else "train"


def solution(question: Question, *, reflects: bool) -> str:
    """The worked answer of a demonstrator who sees through the riddle, or does not."""
    kind = question.kind
    steps, result = work(kind.right if reflects else kind.tempting or kind.right, question.numbers)
    return written(steps, result, as_json=question.as_json)


def gold(question: Question | str, response: str) -> bool:
    """Whether the response states the right number, in the form that the question asks for."""
    asked = parse(question) if isinstance(question, str) else question
    return stated(response, as_json=asked.as_json) == asked.answer


def _question(prompt: Conversation) -> Question:
    return parse(str(prompt[-1]["content"]))
