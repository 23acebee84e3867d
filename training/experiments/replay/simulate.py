"""A tiny engine that plays recorded candidates to a strategy: the strategy is the server's own code.

Candidates advance together, a token a step, as in a batch of vLLM; a step takes longer the more of them run. What the
strategy asks to score costs what scoring was measured to take. Only times are modelled, everything else was recorded.
"""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from service.rerank.strategies.base import (
    Abort,
    Aborted,
    Action,
    AskForScore,
    Candidate,
    Clock,
    Commit,
    Event,
    Finished,
    Progress,
    Sample,
    Scored,
    Stop,
    Strategy,
    next_finish_rank,
)
from training.samples.trace import Traced, TracedPrompt


@dataclass(frozen=True)
class Timing:
    """Seconds: until a candidate's first token, of a step with nothing in it, for each candidate in it, of a score."""

    first_s: float
    step_s: float
    candidate_s: float
    score_s: float

    @classmethod
    def of(cls, prompts: Sequence[TracedPrompt]) -> "Timing":
        """Medians of a trace, and least squares of the time a token takes against how many candidates were running.

        Where that predicts nothing, or less than nothing, a token takes the same time however many run.
        """
        firsts = [candidate.growth[0][1] for prompt in prompts for candidate in prompt.candidates if candidate.growth]
        scores = [prompt.score_s for prompt in prompts if not math.isnan(prompt.score_s)]
        running, token_s = np.array([pair for prompt in prompts for pair in _paces(prompt)] or [(1.0, 0.0)]).T
        step_s, candidate_s = float(np.median(token_s)), 0.0
        if np.ptp(running):
            terms = np.column_stack([np.ones_like(running), running])
            fitted = np.linalg.lstsq(terms, token_s, rcond=None)[0]
            step_s, candidate_s = fitted if min(fitted) >= 0 else (step_s, candidate_s)
        return cls(
            float(np.median(firsts)) if firsts else 0.0,
            float(step_s),
            float(candidate_s),
            float(np.median(scores)) if scores else 0.0,
        )


@dataclass(frozen=True)
class Outcome:
    """What a strategy made of a prompt: its candidates as they ended, why it stopped, and when, in seconds."""

    candidates: tuple[Candidate, ...]
    stop_reason: str
    latency_s: float

    @property
    def tokens(self) -> int:
        """Generated, by all candidates."""
        return sum(candidate.tokens for candidate in self.candidates)


def simulate(recorded: Sequence[Traced], strategy: Strategy, timing: Timing, *, whole_first: bool = False) -> Outcome:
    """Play the candidates in this order. Raises ValueError where the strategy asks for more than were recorded.

    whole_first: see `Candidate.cut_off`.
    """
    return _Engine(recorded, strategy, timing, whole_first).run()


class _Engine:
    """`grown`: tokens that a candidate running since the start would have. A candidate's are grown less its offset."""

    def __init__(self, recorded: Sequence[Traced], strategy: Strategy, timing: Timing, whole_first: bool) -> None:
        self._recorded, self._strategy, self._timing, self._whole_first = recorded, strategy, timing, whole_first
        self._views: list[Candidate] = []
        self._running = 0  # that have their first token
        self._offsets: dict[int, float] = {}
        self._now_s = 0.0
        self._grown = 0.0
        self._growths: list[tuple[float, int, int, int]] = []  # (grown, order, candidate, place in its stops)
        self._timers: list[tuple[float, int, int | None, int | None]] = []  # (s, order, candidate, tokens scored)
        self._order = 0
        self._stopped: str | None = None
        self._stops = [_stops(candidate, strategy.checkpoint_tokens) for candidate in recorded]

    def run(self) -> Outcome:
        if self._strategy.alarm_s is not None:
            heapq.heappush(self._timers, (self._strategy.alarm_s, self._next(), None, None))
        self._perform(self._strategy.start())
        while self._stopped is None:
            self._advance()
        views = [self._ended(view) if view.state == "running" else view for view in self._views]
        return Outcome(tuple(views), self._stopped, self._now_s)

    def _next(self) -> int:
        self._order += 1
        return self._order

    def _advance(self) -> None:
        """To what happens next: a candidate comes to its next stop, a score is there, or the alarm rings."""
        step_s = self._timing.step_s + self._timing.candidate_s * self._running
        while self._growths and self._views[self._growths[0][2]].state != "running":
            heapq.heappop(self._growths)
        if not self._growths and not self._timers:
            raise RuntimeError(f"{self._strategy.name} waits for nothing")
        grows_s = self._now_s + (self._growths[0][0] - self._grown) * step_s if self._growths else math.inf
        if self._timers and self._timers[0][0] <= grows_s:
            at_s, _, index, tokens = heapq.heappop(self._timers)
            if self._running and step_s:
                self._grown += (at_s - self._now_s) / step_s
            self._now_s = at_s
            self._ring(index, tokens)
        else:
            self._now_s = grows_s
            self._grown, _, index, place = heapq.heappop(self._growths)
            self._grow(index, place)

    def _ring(self, index: int | None, tokens: int | None) -> None:
        if index is None:
            self._happen(Clock())
        elif tokens is None:
            self._begin(index)
        else:
            self._scored(index, tokens)

    def _begin(self, index: int) -> None:
        if self._views[index].state == "running":
            self._offsets[index] = self._grown
            self._running += 1
            self._await_growth(index, 0)

    def _grow(self, index: int, place: int) -> None:
        tokens, finished = self._stops[index][place], place == len(self._stops[index]) - 1
        view = replace(self._views[index], tokens=tokens)
        if not finished:
            self._views[index] = view
            self._await_growth(index, place + 1)
            self._happen(Progress(index))
            return
        self._running -= 1
        recorded, rank = self._recorded[index], next_finish_rank(self._views)
        view = replace(view, logprob=recorded.logprob, self_certainty=recorded.self_certainty)
        self._views[index] = view.ended(
            "finished", recorded.finish_reason, rank=rank, text=recorded.text, whole_first=self._whole_first
        )
        self._happen(Finished(index))

    def _await_growth(self, index: int, place: int) -> None:
        at = self._offsets[index] + self._stops[index][place] - 1
        heapq.heappush(self._growths, (max(at, self._grown), self._next(), index, place))

    def _scored(self, index: int, tokens: int) -> None:
        view, recorded = self._views[index], self._recorded[index]
        if tokens >= recorded.tokens:
            self._views[index] = view.scored(recorded.reward, recorded.rewards, prefix_tokens=None)
        else:
            reward = next((reward for length, reward in recorded.prefix_rewards if length >= tokens), math.nan)
            self._views[index] = view.scored(reward, {}, prefix_tokens=tokens)
        self._happen(Scored(index))

    def _happen(self, event: Event) -> None:
        self._perform(self._strategy.decide(event, self._views))

    def _perform(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if self._stopped is not None:
                return
            match action:
                case Sample(count):
                    self._sample(count)
                case AskForScore(index):
                    view = self._views[index]
                    self._views[index] = view.score_asked()
                    at_s = self._now_s + self._timing.score_s
                    heapq.heappush(self._timers, (at_s, self._next(), index, view.tokens))
                case Abort(index):
                    self._abort(index)
                case Stop(reason):
                    self._stopped = reason
                case Commit():
                    pass

    def _sample(self, count: int) -> None:
        first = len(self._views)
        if first + count > len(self._recorded):
            raise ValueError(f"{self._strategy.name} samples {first + count} of {len(self._recorded)} recorded")
        for index in range(first, first + count):
            self._views.append(Candidate(index))
            heapq.heappush(self._timers, (self._now_s + self._timing.first_s, self._next(), index, None))

    def _abort(self, index: int) -> None:
        if self._views[index].state == "running":
            self._running -= index in self._offsets
            self._views[index] = self._ended(self._views[index])
            self._happen(Aborted(index))

    def _ended(self, view: Candidate) -> Candidate:
        """Aborted now, with the tokens that it has come to; with none before its first."""
        offset = self._offsets.get(view.index, self._grown + 1)
        tokens = min(math.floor(self._grown - offset + 1e-9) + 1, self._recorded[view.index].tokens)
        return replace(view, tokens=max(view.tokens, tokens)).ended("aborted", "abort")


def _stops(candidate: Traced, checkpoint_tokens: int | None) -> list[int]:
    """The lengths at which the server would have reported this candidate, the last of them its end."""
    stops, noted = [], 0
    for tokens, _ in candidate.growth:
        if checkpoint_tokens is not None and tokens - noted >= checkpoint_tokens and tokens < candidate.tokens:
            stops.append(tokens)
            noted = tokens
    return [*stops, candidate.tokens]


def _paces(prompt: TracedPrompt) -> list[tuple[float, float]]:
    """(candidates running, seconds a token) of the stretches between neighbouring points of each candidate's growth."""
    ends = sorted(candidate.growth[-1][1] for candidate in prompt.candidates if candidate.growth)
    paces = []
    for candidate in prompt.candidates:
        for (tokens, at_s), (later, until_s) in zip(candidate.growth, candidate.growth[1:], strict=False):
            if later > tokens:
                middle_s = (at_s + until_s) / 2
                running = len(ends) - int(np.searchsorted(ends, middle_s))
                paces.append((float(running), (until_s - at_s) / (later - tokens)))
    return paces
