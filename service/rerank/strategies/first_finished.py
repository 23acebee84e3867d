"""What is left to do without a reward model: answer with the first candidates that finish."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.rerank.strategies.base import Action, Candidate, Clock, Event, Stop, Strategy


@dataclass(frozen=True)
class FirstFinished:
    """Takes over from `inner` when the reward model has gone and the server is set to answer unranked."""

    inner: Strategy
    n: int = 1  # candidates to return

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def alarm_s(self) -> float | None:
        return self.inner.alarm_s

    @property
    def checkpoint_tokens(self) -> None:
        return None

    def start(self) -> Sequence[Action]:
        return []

    def decide(self, event: Event, candidates: Sequence[Candidate]) -> Sequence[Action]:
        if isinstance(event, Clock):
            return self.inner.decide(event, candidates)
        finished = sum(candidate.state == "finished" for candidate in candidates)
        if finished >= self.n or all(candidate.state != "running" for candidate in candidates):
            return [Stop("reward_unavailable")]
        return []
