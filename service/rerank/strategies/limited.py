"""Limits around any strategy: answer when time is up, when enough candidates are there, or when one is good enough.

Waiting for the last of N costs the most where lengths differ: an answer takes as long as its slowest candidate. What
cuts stragglers favours short answers, since those are there first; `rerank.selection.length_calibrated` takes back what
the reward model itself gives for length.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from service.rerank.strategies.base import Action, Candidate, Clock, Event, Stop, Strategy


@dataclass(frozen=True)
class Limited:
    """A strategy, and what may end it early."""

    inner: Strategy
    alarm_s: float | None = None  # the deadline, from the start of generation
    stop_after: int | None = None  # scored candidates that are enough, finished ones where none is scored; None: all
    target_reward: float | None = None  # good enough, once as many as are to be returned have it
    n: int = 1  # to return
    scored: bool = True  # the reward model is asked

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
        rewards = [candidate.reward for candidate in candidates if candidate.contends and candidate.reward is not None]
        if self.target_reward is not None and sum(reward >= self.target_reward for reward in rewards) >= self.n:
            return [Stop("target")]
        actions = self.inner.decide(event, candidates)
        finished = [candidate for candidate in candidates if candidate.state == "finished" and not candidate.cut_off]
        enough = self.stop_after is not None and len(rewards if self.scored else finished) >= self.stop_after
        return [*actions, Stop("enough")] if enough else actions
