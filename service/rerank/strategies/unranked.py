"""What is left to do without a reward model: as many answers as are to be returned, or a vote."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.rerank.strategies.base import Abort, Action, Candidate, Clock, Commit, Event, Sample, Stop, Strategy
from service.rerank.strategies.pass_on import PassOn


@dataclass(frozen=True)
class Unranked:
    """Takes the place of `inner`, before it has begun or in the middle, where no reward will come.

    Of candidates that run already the first by index are kept: the first to finish would be the shortest.
    """

    inner: Strategy
    n: int = 1  # candidates to return
    best_of: int = 1  # candidates to sample at most
    votes: bool = False  # all of them vote
    reason: str = "reward_unavailable"  # why it is unranked, for the client

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
        commits = map(Commit, range(self.n)) if isinstance(self.inner, PassOn) else ()
        return [Sample(self.best_of if self.votes else self.n), *commits]

    def decide(self, event: Event, candidates: Sequence[Candidate]) -> Sequence[Action]:
        if isinstance(event, Clock):
            return self.inner.decide(event, candidates)
        if self.is_ranked(candidates):
            return [Stop(self.reason)]
        return self._go_on(candidates, self.best_of if self.votes else self.n)

    def is_ranked(self, candidates: Sequence[Candidate]) -> bool:
        """So many have a reward that the best of them is the answer: most of those that were sampled, at least n.

        The first few to have one are the shortest.
        """
        scored = sum(candidate.contends for candidate in candidates)
        return scored >= self.n and scored > len(candidates) / 2

    def _go_on(self, candidates: Sequence[Candidate], wanted: int) -> Sequence[Action]:
        """Until so many have finished; one that fails is replaced while more may be sampled."""
        alive = sorted((one for one in candidates if one.alive), key=lambda one: one.cut_off)
        kept, others = alive[:wanted], alive[wanted:]
        missing = min(wanted - len(kept), self.best_of - len(candidates))
        if missing > 0:
            return [Sample(missing)]
        aborts: list[Action] = [Abort(one.index) for one in others if one.state == "running"]
        return aborts if any(one.state == "running" for one in kept) else [*aborts, Stop(self.reason)]
