"""Nothing to choose from: all that is sampled is returned, and passed on while it grows."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.rerank.strategies.base import Action, AskForScore, Candidate, Commit, Event, Failed, Finished, Sample, Stop


@dataclass(frozen=True)
class PassOn:
    """N = 1, and N answers that nobody asked to have ranked, whichever strategy was asked for."""

    n: int
    name: str  # of the strategy that was asked for
    scored: bool  # the client wants to know the reward of what it gets
    checkpoint_tokens: None = None
    alarm_s: None = None

    def start(self) -> Sequence[Action]:
        return [Sample(self.n), *map(Commit, range(self.n))]

    def decide(self, event: Event, candidates: Sequence[Candidate]) -> Sequence[Action]:
        if self.scored and isinstance(event, Finished):
            return [AskForScore(event.index)]
        if isinstance(event, Failed):  # an answer that misses one is none, so nothing more is generated for it
            return [Stop("failed")]
        over = all(one.settled or (one.state == "finished" and not self.scored) for one in candidates)
        return [Stop("complete")] if over else []
