"""Who generated how many tokens, for how long, and what became of them: what bill, metrics and response all read."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from reward.conversation import Answer, Conversation, as_it_stands
from reward.scorer import Score
from service.rerank.busy_time import WORK, Work
from service.rerank.errors import BelowMinReward, DeadlineExceeded, NothingComplete, NothingGenerated
from service.rerank.plan import Plan
from service.rerank.selection import Choice
from service.rerank.strategies.base import Candidate, State, next_finish_rank

NO_CHOICE = Choice(())
_END_STATES: Mapping[str, State] = {"abort": "aborted", "error": "failed"}


@dataclass
class CandidateRecord:
    """Everything known of one candidate; a strategy sees only `view`.

    growth: (tokens, monotonic seconds) of its first piece, of each checkpoint and of its end. finished_s: monotonic.
    """

    view: Candidate
    pieces: list[str] = field(default_factory=list)
    growth: list[tuple[int, float]] = field(default_factory=list)
    error: Exception | None = None
    answer: Answer | None = None  # of what has finished
    finished_s: float | None = None

    @property
    def text(self) -> str:
        return "".join(self.pieces)


@dataclass
class Ledger:
    """What was done for one prompt. Times are monotonic seconds.

    scored_tokens: length of every sequence given to the reward model; scored_cached_tokens: of those, the ones its
    prefix cache already held. stop_reason: why generation ended; None until it has. conversation: as the reward model
    reads it; None where it is not asked. busy_s: what its sequences were charged of the machine's time, see
    `BusyMeter`. select_s: what choosing among the candidates took. choice: what it came to, and why.
    """

    plan: Plan
    records: list[CandidateRecord] = field(default_factory=list)
    conversation: Conversation | None = None
    choice: Choice = NO_CHOICE
    stop_reason: str | None = None
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    scored_tokens: int = 0
    scored_cached_tokens: int = 0
    started_s: float = field(default_factory=time.monotonic)
    ended_s: float | None = None
    select_s: float = 0.0
    busy_s: dict[Work, float] = field(default_factory=lambda: dict.fromkeys(WORK, 0.0))

    def absorb(self, step: "Ledger") -> None:
        """Add the next token of a beam search, which the engine saw as a request of its own, to the shortest beam."""
        beam = min(self.records, key=lambda record: record.view.tokens)
        tokens = sum(candidate.tokens for candidate in step.candidates)
        beam.view = replace(beam.view, state="finished", tokens=beam.view.tokens + tokens)
        self.prompt_tokens += step.prompt_tokens
        self.cached_prompt_tokens += step.cached_prompt_tokens
        self.stop_reason, self.ended_s = step.stop_reason, step.ended_s
        for work in WORK:
            self.busy_s[work] += step.busy_s[work]

    @property
    def selected(self) -> tuple[int, ...]:
        """Indices of what is returned, best first."""
        return self.choice.selected

    @property
    def candidates(self) -> list[Candidate]:
        return [record.view for record in self.records]

    @property
    def last_finish_s(self) -> float:
        """When the last candidate that finished did so; the end where none did."""
        finishes = [record.finished_s for record in self.records if record.finished_s is not None]
        return max(finishes) if finishes else self.end_s

    @property
    def end_s(self) -> float:
        return time.monotonic() if self.ended_s is None else self.ended_s

    @property
    def reward(self) -> float | None:
        """Of the best selected candidate."""
        return self.candidates[self.selected[0]].reward if self.selected else None

    @property
    def rewards(self) -> list[float]:
        return [candidate.reward for candidate in self.candidates if candidate.reward is not None]

    def note_end(self, record: CandidateRecord, finish_reason: str) -> State:
        """Write down how a candidate ended: "abort" and "error" are the engine's words for what did not finish."""
        state = _END_STATES.get(finish_reason, "finished")
        if state == "finished":
            record.finished_s = time.monotonic()
            record.answer = self._read(record, finished=True)
            record.view = record.view.ended(
                state,
                finish_reason,
                rank=next_finish_rank(self.candidates),
                text=record.answer.content,
                whole_first=self.plan.incomplete != "allow" or record.answer.only_thought,
            )
        else:
            record.view = record.view.ended(state, finish_reason)
        return state

    def answer(self, record: CandidateRecord) -> Answer:
        """What a candidate says, its thinking and its tool calls apart; all of it where the reward model is not asked.

        Without what the client wrote of it.
        """
        return record.answer or self._read(record, finished=False)

    def _read(self, record: CandidateRecord, *, finished: bool) -> Answer:
        return (self.conversation.read if self.conversation else as_it_stands)(record.text, finished)

    def note_score(self, record: CandidateRecord, score: Score | None, *, finished: bool, tokens: int) -> None:
        """Write down a score that was asked for, of `record` as it stood at `tokens`; None, NaN or infinity is none."""
        prefix_tokens = None if finished else tokens
        if score is None:
            record.view = record.view.scored(math.nan, {}, prefix_tokens=prefix_tokens)
            return
        self.scored_tokens += score.tokens
        self.scored_cached_tokens += score.cached_tokens
        reward = self.plan.reward_of(score)
        record.view = record.view.scored(reward, dict(score.rewards), prefix_tokens=prefix_tokens)

    def nothing_to_return(self) -> Exception:
        """Why there is too little to return, now that all has ended: an error of ours, or the engine's own."""
        cut_off = sum(candidate.cut_off for candidate in self.candidates)
        if cut_off and self.plan.incomplete == "never":
            param = "rerank.incomplete"
            reason = f"{cut_off} of {len(self.records)} candidates were cut off, no other can be returned"
            return NothingComplete(f"{reason}, and {param} is never; allow more tokens", param=param)
        least = self.plan.min_reward
        if least is not None and any(candidate.state == "finished" for candidate in self.candidates):
            return self._below(least)
        if self.stop_reason == "deadline":
            param = "rerank.deadline_ms"
            return DeadlineExceeded(f"{param} passed before any candidate finished", param=param)
        errors = (record.error for record in self.records if record.error is not None)
        return next(errors, NothingGenerated(f"all {len(self.records)} candidates failed"))

    def _below(self, least: float) -> BelowMinReward:
        param = "rerank.min_reward"
        best = max(self.rewards, default=None)
        known = "no candidate could be scored" if best is None else f"the best candidate's reward is {best:.6g}"
        return BelowMinReward(f"{known}; {param} asks for at least {least:.6g}", param=param)

    def growth_ms(self, record: CandidateRecord) -> list[tuple[int, float]]:
        """(tokens, milliseconds since generation began) of a candidate's first piece, checkpoints and end."""
        return [(tokens, milliseconds(at_s - self.started_s)) for tokens, at_s in record.growth]

    def fate(self, candidate: Candidate) -> str:
        """returned, rejected, aborted or failed: every candidate has exactly one."""
        if candidate.index in self.selected:
            return "returned"
        return "rejected" if candidate.state == "finished" else _UNFINISHED[candidate.state]


def milliseconds(seconds: float) -> float:
    """For a report: not below 0, to the microsecond."""
    return round(max(seconds, 0.0) * 1000, 3)


def finite(value: float | None) -> float | None:
    """The value, or None for NaN and infinity, which JSON does not have."""
    return value if value is not None and math.isfinite(value) else None


_UNFINISHED = {"running": "aborted", "aborted": "aborted", "failed": "failed"}


@dataclass(frozen=True)
class Tokens:
    """A request's tokens, summed over its prompts. generated: by all candidates, whatever became of them."""

    prompt: int = 0
    cached_prompt: int = 0
    generated: int = 0
    returned: int = 0
    scored: int = 0
    scored_cached: int = 0


def count_tokens(ledgers: Sequence[Ledger]) -> Tokens:
    """Sum of what was read, generated, returned and scored."""
    fates = [(ledger.fate(candidate), candidate.tokens) for ledger in ledgers for candidate in ledger.candidates]
    return Tokens(
        prompt=sum(ledger.prompt_tokens for ledger in ledgers),
        cached_prompt=sum(ledger.cached_prompt_tokens for ledger in ledgers),
        generated=sum(tokens for _, tokens in fates),
        returned=sum(tokens for fate, tokens in fates if fate == "returned"),
        scored=sum(ledger.scored_tokens for ledger in ledgers),
        scored_cached=sum(ledger.scored_cached_tokens for ledger in ledgers),
    )


def count_busy_s(ledgers: Sequence[Ledger]) -> dict[Work, float]:
    """Sum of what was charged of the machine's time, in seconds."""
    return {work: sum(ledger.busy_s[work] for ledger in ledgers) for work in WORK}
