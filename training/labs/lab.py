"""What a lab is: a synthetic world whose gold reward is known exactly and reaches the learner only through labels."""

import random
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol

from training.data.records import Conversation, Demonstration

Split = Literal["train", "held_out"]
SPLITS: tuple[Split, ...] = ("train", "held_out")


class LabOptionsError(ValueError):
    """An option of a lab is out of bounds; the message names it."""


class Lab(Protocol):
    """A frozen dataclass whose fields are the lab's options (`lab_options` in a recipe)."""

    @property
    def name(self) -> str: ...

    @property
    def answer_tokens(self) -> int:
        """No answer worth reading is longer, in the lab's own tokens."""

    def prompts(self, count: int, split: Split, *, seed: int) -> list[Conversation]:
        """`count` different prompts from one side of the split; no prompt is on both sides, whatever the seed."""

    def demonstrations(self, count: int, *, seed: int) -> Iterator[Demonstration]:
        """Answers to training prompts as a demonstrator of this lab writes them."""

    def gold(self, prompt: Conversation, response: str) -> float:
        """The reward that everybody is really after; higher is better. Raises ValueError for a foreign prompt."""

    def judge(
        self, prompt: Conversation, responses: Sequence[str], *, noise: float, generator: random.Random
    ) -> list[float]:
        """How good a labeller finds each response: the gold reward where `noise` is 0; higher is better."""

    def tokenizer(self) -> Any:
        """The tokenizer, with its chat template, of a policy that learns this lab from nothing."""
