"""The page of verbs: sample candidates, score them, stop, select.

A `Run` performs a strategy's actions for one prompt and turns what happens into events for it. It owns every task it
starts: when it is closed, by an answer, an error or a client that left, nothing of it keeps running, and the tokens of
every candidate are known.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from reward.conversation import Conversation
from reward.scorer import RewardUnavailable
from service.rerank.busy_time import BusyMeter, Work
from service.rerank.errors import BelowMinReward, DeadlineExceeded, EngineDown, NothingGenerated, RewardModelDown
from service.rerank.ledger import Ledger, Record
from service.rerank.plan import Plan
from service.rerank.scoring import Scoring
from service.rerank.selection import select
from service.rerank.strategies.base import (
    Abort,
    Aborted,
    Action,
    Candidate,
    Clock,
    Commit,
    Event,
    Failed,
    Finished,
    Progress,
    RewardLost,
    Sample,
    Score,
    Scored,
    State,
    Stop,
)
from service.rerank.strategies.first_finished import FirstFinished
from service.rerank.supervised_scorer import RewardModel


@dataclass(frozen=True)
class Draft:
    """What a candidate grew by. finish_reason: "abort" when it was ended by `Sampler.abort`, None while it runs."""

    tokens: int
    text: str
    finish_reason: str | None


class Sampler(Protocol):
    """The generation engine, for one prompt."""

    def sample(self, index: int) -> AsyncIterator[Draft]:
        """Generate candidate `index` (0, 1, ...). Raises EngineDown, or what the engine raised for this candidate."""

    async def abort(self, indices: list[int]) -> None:
        """Make these candidates' iterators end at once, with their last tokens and finish_reason "abort"."""

    @property
    def prompt_tokens(self) -> int:
        """Of the prompt, 0 until the first draft."""

    @property
    def cached_prompt_tokens(self) -> int:
        """Of these, what the engine had read for an earlier request."""


_ENDED: Mapping[State, type[Finished | Aborted | Failed]] = {"finished": Finished, "aborted": Aborted, "failed": Failed}


class Run:
    """One prompt's candidates. Times are monotonic seconds. meter: charges the ledger for what is at work.

    committed: the candidate that will be returned, as soon as no other can be; it may still be growing.
    """

    def __init__(
        self,
        plan: Plan,
        conversation: Conversation,
        sampler: Sampler,
        reward: RewardModel,
        meter: BusyMeter,
    ) -> None:
        self.ledger = Ledger(plan)
        self._meter = meter
        self._strategy = plan.strategy
        self._conversation = conversation
        self._scoring: Scoring | None = None
        self._sampler = sampler
        self._reward = reward
        self._happenings: asyncio.Queue[Event | Exception] = asyncio.Queue()
        self._sampling: set[asyncio.Task[None]] = set()
        self._scoring_tasks: set[asyncio.Task[None]] = set()
        self._closing: asyncio.Task[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self.committed: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    # -- the verbs

    async def best(self) -> tuple[int, ...]:
        """Indices of the candidates to return, best first.

        Raises:
            InvalidRequest, RewardModelDown, EngineDown, DeadlineExceeded, BelowMinReward, NothingGenerated: see
                `service.rerank.errors`.
            Exception: what the engine raised, when every candidate failed for the same reason.
        """
        try:
            self._begin()
            while self.ledger.stop_reason is None:
                happening = await self._happenings.get()
                if isinstance(happening, Exception):
                    self._do_without(happening)
                else:
                    self._perform(self._strategy.decide(happening, self.ledger.candidates))
        finally:
            await asyncio.shield(self.close())
        began_s = time.monotonic()
        selected = self._select()
        self.ledger.select_s = time.monotonic() - began_s
        return selected

    def close(self) -> asyncio.Task[None]:
        """End everything that still runs, once; the task is done when it is all accounted for."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        return self._closing

    # -- steps

    def _begin(self) -> None:
        self._scoring = Scoring(self._reward, self._conversation)
        self.ledger.conversation = self._scoring.conversation
        self._reward.subscribe(self._happenings.put_nowait)
        self._start(self._scoring_tasks, self._charged("score", partial(self._prefill, self._scoring)))
        if self._strategy.alarm_s is not None:
            loop = asyncio.get_running_loop()
            self._alarm = loop.call_later(self._strategy.alarm_s, self._happenings.put_nowait, Clock())
        self._perform(self._strategy.start())

    def _perform(self, actions: Sequence[Action]) -> None:
        for action in actions if self._closing is None else ():
            match action:
                case Sample(count):
                    for _ in range(count):
                        self._sample_one()
                case Score(index):
                    self._score_one(self.ledger.records[index])
                case Abort(index):
                    self._abort_one(self.ledger.records[index])
                case Commit(index):
                    if not self.committed.done():
                        self.committed.set_result(index)
                case Stop(reason):
                    self.ledger.stop_reason = self.ledger.stop_reason or reason

    def _sample_one(self) -> None:
        record = Record(Candidate(len(self.ledger.records)))
        self.ledger.records.append(record)
        self._start(self._sampling, self._charged("generate", partial(self._sample, record)))

    def _score_one(self, record: Record) -> None:
        record.view = record.view.score_asked()
        self._start(self._scoring_tasks, self._charged("score", partial(self._score, record)))

    def _abort_one(self, record: Record) -> None:
        record.view = replace(record.view, aborting=True)
        self._start(self._sampling, self._abort(record.view.index))

    async def _charged(self, work: Work, sequence: Callable[[], Awaitable[None]]) -> None:
        with self._meter.working(work, self.ledger.busy_s):
            await sequence()

    def _start(self, tasks: set[asyncio.Task[None]], work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def _do_without(self, error: Exception) -> None:
        """Go on without the reward model, or give up; any other trouble ends the run."""
        if not isinstance(error, RewardUnavailable):
            raise error
        if isinstance(self._strategy, FirstFinished):
            return
        if self._reward.on_failure == "error":
            raise RewardModelDown(f"the reward model is unavailable: {error}") from error
        self._strategy = FirstFinished(self._strategy, self.ledger.plan.n)
        self._perform(self._strategy.decide(RewardLost(), self.ledger.candidates))

    async def _sample(self, record: Record) -> None:
        index = record.view.index
        noted_tokens = 0
        try:
            async for draft in self._sampler.sample(index):
                record.pieces.append(draft.text)
                record.view = replace(record.view, tokens=record.view.tokens + draft.tokens)
                step = self._strategy.checkpoint_tokens
                at_checkpoint = step is not None and record.view.tokens - noted_tokens >= step
                if at_checkpoint or draft.finish_reason is not None or not record.growth:
                    record.growth.append((record.view.tokens, time.monotonic()))
                if draft.finish_reason is not None:
                    ended = self.ledger.note_end(record, draft.finish_reason)
                    self._happenings.put_nowait(_ENDED[ended](index))
                elif at_checkpoint:
                    noted_tokens = record.view.tokens
                    self._happenings.put_nowait(Progress(index))
            if record.view.state == "running":
                raise NothingGenerated("the engine ended a candidate without saying why")
        except EngineDown as error:
            record.view = record.view.ended("failed", None)
            self._happenings.put_nowait(error)
        except Exception as error:
            record.error = error
            record.view = record.view.ended("failed", None)
            self._happenings.put_nowait(Failed(index))

    async def _abort(self, index: int) -> None:
        try:
            await self._sampler.abort([index])
        except Exception as error:
            self._happenings.put_nowait(error)

    async def _prefill(self, scoring: Scoring) -> None:
        try:
            await scoring.prefill()
        except RewardUnavailable as error:
            self._happenings.put_nowait(error)

    async def _score(self, record: Record) -> None:
        assert self._scoring is not None
        try:
            await self._scoring.score(self.ledger, record)
        except RewardUnavailable as error:
            self._happenings.put_nowait(error)
        else:
            self._happenings.put_nowait(Scored(record.view.index))

    def _select(self) -> tuple[int, ...]:
        plan = self.ledger.plan
        self.ledger.choice = select(
            self.ledger.candidates,
            plan.n,
            plan.selection,
            seed=plan.seed,
            reward_std=plan.reward.std,
            min_reward=plan.min_reward,
        )
        if not self.ledger.selected:
            raise self._nothing_to_return()
        return self.ledger.selected

    def _nothing_to_return(self) -> Exception:
        if any(candidate.state == "finished" for candidate in self.ledger.candidates):
            return self._below_min_reward()
        if self.ledger.stop_reason == "deadline":
            param = "rerank.deadline_ms"
            return DeadlineExceeded(f"{param} passed before any candidate finished", param=param)
        errors = [record.error for record in self.ledger.records if record.error is not None]
        if errors:
            return errors[0]
        return NothingGenerated(f"all {len(self.ledger.records)} candidates failed")

    def _below_min_reward(self) -> BelowMinReward:
        param, least = "rerank.min_reward", self.ledger.plan.min_reward
        best = max(self.ledger.rewards, default=None)
        known = "no candidate could be scored" if best is None else f"the best candidate's reward is {best:.6g}"
        return BelowMinReward(f"{known}; {param} asks for at least {least:.6g}", param=param)

    async def _close(self) -> None:
        self._reward.unsubscribe(self._happenings.put_nowait)
        if self._alarm is not None:
            self._alarm.cancel()
        scoring = list(self._scoring_tasks)
        for task in scoring:
            task.cancel()
        running = [record.view.index for record in self.ledger.records if record.view.state == "running"]
        try:
            if running:
                await self._sampler.abort(running)
        except Exception:
            for task in self._sampling:  # the engine cannot say what it has generated; at least it is left alone
                task.cancel()
        await asyncio.gather(*self._sampling, *scoring, return_exceptions=True)
        self.ledger.prompt_tokens = self._sampler.prompt_tokens
        self.ledger.cached_prompt_tokens = self._sampler.cached_prompt_tokens
        self._happenings.put_nowait(NothingGenerated("the request was closed"))
        self.ledger.ended_s = time.monotonic()
