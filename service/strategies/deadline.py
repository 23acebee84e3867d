"""A time limit around any strategy: when it has passed, answer with the best there is."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.strategies.base import Action, Candidate, Clock, Event, Stop, Strategy


@dataclass(frozen=True)
class Deadline:
    """inner: the strategy to limit. alarm_s: seconds from the start of generation."""

    inner: Strategy
    alarm_s: float

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def checkpoint_tokens(self) -> int | None:
        return self.inner.checkpoint_tokens

    def start(self) -> Sequence[Action]:
        return self.inner.start()

    def decide(self, event: Event, candidates: Sequence[Candidate]) -> Sequence[Action]:
        if isinstance(event, Clock):
            return [Stop("deadline")]
        return self.inner.decide(event, candidates)
