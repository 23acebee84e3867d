"""The vocabulary between a strategy and whatever runs it: the server's reranker, or a replay of recorded candidates.

A strategy is a pure function of the candidates as they stand and of the event that just happened. It keeps no
state, reads no clock and does no I/O, so the same code serves live requests and replays.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

State = Literal["running", "finished", "aborted", "failed"]
Quantity = Literal["logprob", "self_certainty"]  # what the generation engine can report of a candidate
CUT_OFF = ("length", "repetition")  # reasons for which the engine ends an answer that would have gone on


@dataclass(frozen=True)
class Candidate:
    """One sampled answer, as far as it has come."""

    index: int
    state: State = "running"
    tokens: int = 0  # generated so far
    finish_reason: str | None = None
    finish_rank: int | None = None  # 0 for the first candidate of the request that finished
    reward: float | None = None  # of the finished text; None until it was scored, or when it could not be
    unscored: bool = False  # it has finished and could not be scored
    aborting: bool = False  # its abort was asked for, and it has not ended yet
    scores_pending: int = 0  # scores asked for that have not come back
    prefix_rewards: tuple[tuple[int, float], ...] = ()  # (tokens, reward) of unfinished prefixes, oldest first
    rewards: Mapping[str, float] = field(default_factory=dict)  # of each named head, raw, of the finished text
    text: str = ""  # of a finished candidate
    logprob: float | None = None  # sum over its tokens so far, under the policy; None where nothing asked for it
    self_certainty: float | None = None  # mean over its tokens so far, in nats; None where nothing asked for it
    cut_off: bool = False  # it ended without coming to its end, and the request ranks such behind those that did

    def reward_at(self, tokens: int) -> float | None:
        """The first reward measured when it had at least so many tokens; of a shorter, finished one that of its end."""
        place = bisect_left(self.prefix_rewards, (tokens,))
        return self.prefix_rewards[place][1] if place < len(self.prefix_rewards) else self.reward

    @property
    def mean_logprob(self) -> float | None:
        """Of a token."""
        return None if self.logprob is None or not self.tokens else self.logprob / self.tokens

    def grown(self, tokens: int, logprob: float | None = None, self_certainty: float | None = None) -> "Candidate":
        """It has more tokens. logprob: their sum. self_certainty: their mean."""
        longer = replace(self, tokens=self.tokens + tokens)
        if logprob is not None:
            longer = replace(longer, logprob=(self.logprob or 0.0) + logprob)
        if self_certainty is not None and tokens:
            total = (self.self_certainty or 0.0) * self.tokens + self_certainty * tokens
            longer = replace(longer, self_certainty=total / longer.tokens)
        return longer

    def ended(
        self, state: State, reason: str | None, *, rank: int | None = None, text: str = "", whole_first: bool = False
    ) -> "Candidate":
        """It will not grow any more. rank, text: of one that has finished. whole_first: see `cut_off`."""
        cut_off = whole_first and state == "finished" and reason in CUT_OFF
        return replace(self, state=state, finish_reason=reason, finish_rank=rank, text=text, cut_off=cut_off)

    def score_asked(self) -> "Candidate":
        """One more score is on its way."""
        return replace(self, scores_pending=self.scores_pending + 1)

    def scored(self, reward: float, rewards: Mapping[str, float], *, prefix_tokens: int | None) -> "Candidate":
        """A score has come. prefix_tokens: of what was scored, None for all of it. nan or infinity is no reward."""
        answered = replace(self, scores_pending=self.scores_pending - 1)
        known = math.isfinite(reward)
        if prefix_tokens is None:
            return replace(answered, reward=reward, rewards=rewards) if known else replace(answered, unscored=True)
        return replace(answered, prefix_rewards=(*self.prefix_rewards, (prefix_tokens, reward))) if known else answered

    @property
    def contends(self) -> bool:
        """It has a reward that may win."""
        return self.reward is not None and not self.cut_off

    @property
    def alive(self) -> bool:
        """It has finished, or is left to."""
        return self.state == "finished" or (self.state == "running" and not self.aborting)

    @property
    def settled(self) -> bool:
        """Nothing more can be learnt about this candidate."""
        if self.state == "finished":
            return self.reward is not None or self.unscored
        return self.state in ("aborted", "failed")


def next_finish_rank(candidates: Sequence[Candidate]) -> int:
    """The `finish_rank` of the candidate that finishes next: how many have."""
    return sum(candidate.finish_rank is not None for candidate in candidates)


@dataclass(frozen=True)
class Progress:
    """A running candidate has grown by at least the strategy's `checkpoint_tokens`."""

    index: int


@dataclass(frozen=True)
class Finished:
    """A candidate ended by itself: end of text, a stop string, or its length limit."""

    index: int


@dataclass(frozen=True)
class Failed:
    """A candidate ended in an error of the engine."""

    index: int


@dataclass(frozen=True)
class Aborted:
    """A candidate was aborted, by the strategy or by the engine."""

    index: int


@dataclass(frozen=True)
class RewardLost:
    """The reward model is gone: no further score will come."""


@dataclass(frozen=True)
class Scored:
    """A score arrived; `Candidate.reward`, `unscored` or `prefix_rewards` holds it."""

    index: int


@dataclass(frozen=True)
class Clock:
    """`Strategy.alarm_s` has come."""


Event = Progress | Finished | Failed | Aborted | Scored | RewardLost | Clock


@dataclass(frozen=True)
class Sample:
    """Start `count` more candidates."""

    count: int


@dataclass(frozen=True)
class AskForScore:
    """Score a candidate's text as it stands now."""

    index: int


@dataclass(frozen=True)
class Abort:
    """Stop generating a candidate; its tokens so far are kept and counted."""

    index: int


@dataclass(frozen=True)
class Stop:
    """Answer now with the best there is; whatever still runs is aborted. `reason` reaches the client."""

    reason: str


@dataclass(frozen=True)
class Commit:
    """Answer with this candidate, whatever becomes of it and of the others, so that it may be passed on as it grows."""

    index: int


Action = Sample | AskForScore | Abort | Stop | Commit


class Strategy(Protocol):
    """How hard to try for one request."""

    @property
    def name(self) -> str:
        """The value of `rerank.strategy` that asks for it."""

    @property
    def checkpoint_tokens(self) -> int | None:
        """Tokens between two Progress events of a candidate; None for no such events."""

    @property
    def alarm_s(self) -> float | None:
        """When to send Clock, in seconds since generation began; None for never."""

    def start(self) -> Sequence[Action]:
        """The first actions of a request."""

    def decide(self, event: Event, candidates: Sequence[Candidate]) -> Sequence[Action]:
        """What to do after `event`; `candidates` already include it."""
