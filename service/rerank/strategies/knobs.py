"""What a strategy declares: its knobs, which defaults a profile sets, and how it is made for one prompt."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from service.rerank.strategies.base import Strategy
from service.rerank.variants import Variant

MOST_TOKENS = 1_000_000_000  # no answer is longer, and every engine can count so far


@dataclass(frozen=True)
class Terms:
    """What a request, and the server that it came to, leave a strategy to work with."""

    best_of: int  # candidates to sample at most
    n: int = 1  # to return
    may_commit: bool = False  # once one candidate is left nothing can refuse it, so it may be passed on as it grows
    prefix_score_tokens: int | None = None  # the server scores growing candidates every so many tokens


@dataclass(frozen=True)
class Profiled:
    """Marks a knob whose default a strategy profile sets."""

    only: bool = False  # a request may not set it


class StrategyOptions(Variant, ABC):
    """The knobs of one strategy, as a request, a profile and their own defaults set them."""

    reads_prefixes: ClassVar[bool] = False  # it decides by the rewards of growing candidates

    @abstractmethod
    def make(self, terms: Terms) -> Strategy:
        """The strategy for one prompt."""

    @classmethod
    def knobs(cls) -> tuple[str, ...]:
        return tuple(knob for knob in cls.model_fields if not any(mark.only for mark in cls._marks(knob)))

    @classmethod
    def profiled(cls) -> tuple[str, ...]:
        """Names of what a profile may set."""
        return tuple(knob for knob in cls.model_fields if cls._marks(knob))

    @classmethod
    def _marks(cls, knob: str) -> list[Profiled]:
        return [mark for mark in cls.model_fields[knob].metadata if isinstance(mark, Profiled)]
