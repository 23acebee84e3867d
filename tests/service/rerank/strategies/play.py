"""Plays scripted candidates to a strategy with every event in any order that could come, and checks its manners."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from hypothesis import strategies as st

from service.rerank.strategies.base import (
    Abort,
    Aborted,
    Action,
    AskForScore,
    Candidate,
    Commit,
    Event,
    Failed,
    Finished,
    Progress,
    Sample,
    Scored,
    Stop,
    Strategy,
    next_finish_rank,
)

STEP = 8


@dataclass(frozen=True)
class Life:
    """What becomes of a candidate. prefixes: its reward after each checkpoint, None where it is no number.

    end: "failed", or the reward of the finished text, None where it cannot be scored.
    """

    prefixes: tuple[float | None, ...]
    end: float | Literal["failed"] | None

    @property
    def tokens(self) -> int:
        return STEP * len(self.prefixes) + 1


REWARDS = st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0])  # few, so that there are ties
LIVES = st.builds(
    Life,
    st.lists(REWARDS | st.none(), max_size=4).map(tuple),
    st.one_of(REWARDS, REWARDS, st.none(), st.just("failed")),
)


@dataclass
class Play:
    """candidates: as they ended. aborts: indices in the order in which they were asked for. committed: or None."""

    lives: Sequence[Life]
    strategy: Strategy
    seed: int
    n: int = 1
    candidates: list[Candidate] = field(default_factory=list)
    aborts: list[int] = field(default_factory=list)
    committed: int | None = None
    stopped: str | None = None
    _scores: list[tuple[int, int]] = field(default_factory=list)  # (candidate, tokens), asked for

    def run(self) -> "Play":
        """To the stop. Raises AssertionError for bad manners, such as to wait when nothing more will happen."""
        draw = random.Random(self.seed)
        self._perform(self.strategy.start())
        while self.stopped is None:
            possible = [candidate.index for candidate in self.candidates if candidate.state == "running"]
            assert possible or self._scores, f"{self.strategy.name} waits for nothing: {self.candidates}"
            pick = draw.randrange(len(possible) + len(self._scores))
            event = self._grow(possible[pick]) if pick < len(possible) else self._score(pick - len(possible))
            self._perform(self.strategy.decide(event, self.candidates))
        return self

    def _grow(self, index: int) -> Event:
        view, life = self.candidates[index], self.lives[index]
        if view.aborting:
            return self._end(Aborted(index), "aborted")
        if view.tokens + STEP < life.tokens:
            self.candidates[index] = replace(view, tokens=view.tokens + STEP)
            return Progress(index)
        return self._end(Failed(index), "failed") if life.end == "failed" else self._end(Finished(index), "finished")

    def _end(self, event: Event, state: Literal["finished", "failed", "aborted"]) -> Event:
        view = self.candidates[event.index]  # type: ignore[union-attr]
        rank = next_finish_rank(self.candidates) if state == "finished" else None
        tokens = self.lives[view.index].tokens if state == "finished" else view.tokens
        self.candidates[view.index] = replace(view, tokens=tokens).ended(state, None, rank=rank)
        return event

    def _score(self, pick: int) -> Event:
        index, tokens = self._scores.pop(pick)
        view, life = self.candidates[index], self.lives[index]
        whole = tokens == life.tokens
        reward = life.end if whole else life.prefixes[tokens // STEP - 1]
        assert reward != "failed"
        known = math.nan if reward is None else reward
        self.candidates[index] = view.scored(known, {}, prefix_tokens=None if whole else tokens)
        return Scored(index)

    def _perform(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Sample(count):
                    first = len(self.candidates)
                    assert count > 0
                    assert first + count <= len(self.lives)
                    self.candidates += [Candidate(index) for index in range(first, first + count)]
                case AskForScore(index):
                    view = self.candidates[index]
                    assert view.state in ("running", "finished")
                    self.candidates[index] = view.score_asked()
                    self._scores.append((index, view.tokens))
                case Abort(index):
                    self._abort(index)
                case Commit(index):
                    others = [one for one in self.candidates if one.index != index]
                    assert all(one.state in ("aborted", "failed") for one in others)
                    assert self.committed in (None, index)
                    self.committed = index
                case Stop(reason):
                    self.stopped = self.stopped or reason

    def _abort(self, index: int) -> None:
        view = self.candidates[index]
        assert view.state == "running", "aborts what has ended"
        assert not view.aborting, "aborts twice"
        self.candidates[index] = replace(view, aborting=True)
        self.aborts.append(index)
        assert sum(candidate.alive for candidate in self.candidates) >= self.n, "aborts too many"
