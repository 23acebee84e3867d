"""What trainers learn from, whatever file it came from: demonstrations, and responses to one prompt that were compared.

Pure values. `training.data.read` reads them from files, `training.samples.preferences` makes them in a lab.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Self

from reward.template import Message

Conversation = tuple[Message, ...]  # up to the assistant's turn


def user(text: str) -> Conversation:
    """A conversation of one user message."""
    return ({"role": "user", "content": text},)


@dataclass(frozen=True)
class Demonstration:
    """A conversation up to the assistant's turn, and the answer to imitate."""

    messages: Conversation
    completion: str


@dataclass(frozen=True)
class Comparison:
    """K responses to one prompt, and what is known about which of them are better."""

    messages: Conversation
    responses: tuple[str, ...]
    # One per response, 0 is the best, equal numbers are ties; empty where nothing was ranked. Responses after the best
    # that were never compared with each other are tied (Ziegler's labels name only the best).
    ranks: tuple[int, ...] = ()
    # By dimension, one number per response, higher is better, nan where it was not given.
    scores: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    margin: float = 0.0  # by how much the better response of a pair is better, in units of reward
    weight: float = 1.0  # of this record in a loss
    subset: str = ""  # the part of a benchmark it belongs to

    def __post_init__(self) -> None:
        count = len(self.responses)
        if not count:
            raise ValueError("responses: there is none")
        if self.ranks and len(self.ranks) != count:
            raise ValueError(f"ranks: {len(self.ranks)} for {count} responses")
        for name, values in self.scores.items():
            if len(values) != count:
                raise ValueError(f"scores.{name}: {len(values)} for {count} responses")
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise ValueError(f"weight: must be a positive number, not {self.weight}")

    @property
    def best(self) -> int | None:
        """The response that is better than every other one; None where the top is tied or nothing was ranked."""
        return self.ranks.index(0) if self.ranks.count(0) == 1 else None

    def pairs(self) -> list[tuple[int, int]]:
        """(better, worse) indices of every pair that is not tied."""
        if not self.ranks:
            return []
        both = combinations(range(len(self.ranks)), 2)
        return [(i, j) if self.ranks[i] < self.ranks[j] else (j, i) for i, j in both if self.ranks[i] != self.ranks[j]]

    def only(self, indices: Sequence[int]) -> Self:
        """The same record with some of its responses, in that order; ranks are made dense again."""
        ranks = dense_ranks([self.ranks[i] for i in indices]) if self.ranks else ()
        scores = {name: tuple(values[i] for i in indices) for name, values in self.scores.items()}
        return replace(self, responses=tuple(self.responses[i] for i in indices), ranks=ranks, scores=scores)

    def distinct(self) -> Self:
        """The same record with each different response once, at its first place."""
        first = {text: index for index, text in reversed(list(enumerate(self.responses)))}
        return self if len(first) == len(self.responses) else self.only(sorted(first.values()))


def dense_ranks(values: Sequence[float]) -> tuple[int, ...]:
    """0 for the lowest value, 1 for the next higher one, ...; equal values share a rank."""
    levels = {value: rank for rank, value in enumerate(sorted(set(values)))}
    return tuple(levels[value] for value in values)
