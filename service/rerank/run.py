"""The page of verbs: sample candidates, score them, stop, select.

A `Run` performs a strategy's actions for one prompt and turns what happens into events for it. It owns every task it
starts: when it is closed, by an answer, an error or a client that left, nothing of it keeps running, and the tokens of
every candidate are known.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from functools import partial

from reward.conversation import Conversation
from reward.scorer import RewardUnavailable
from service.rerank.busy_time import BusyMeter, Work
from service.rerank.errors import (
    EngineDown,
    InvalidRequest,
    NothingGenerated,
    RewardModelDown,
    ServiceError,
    ShuttingDown,
)
from service.rerank.ledger import CandidateRecord, Ledger
from service.rerank.plan import Plan
from service.rerank.protocols import Place, Places, Sampler
from service.rerank.scoring import Scoring
from service.rerank.strategies.base import (
    Abort,
    Aborted,
    Action,
    AskForScore,
    Candidate,
    Clock,
    Commit,
    Event,
    Failed,
    Finished,
    Progress,
    RewardLost,
    Sample,
    Scored,
    State,
    Stop,
)
from service.rerank.strategies.unranked import Unranked
from service.rerank.supervised_scorer import SupervisedScorer

_ENDED: Mapping[State, type[Finished | Aborted | Failed]] = {"finished": Finished, "aborted": Aborted, "failed": Failed}


class _GivenUp(EngineDown):
    """The engine ended a candidate that nobody had asked it to end, as it does when a signal to stop reaches it too."""

    def __init__(self) -> None:
        super().__init__("the generation engine gave up the request: it is stopping")


class Run:
    """One prompt's candidates, at work from the moment the run is made. Times are monotonic seconds.

    It is one task: it begins, decides, ends what still runs and selects. Nobody else ends anything: `close` only asks.
    """

    def __init__(
        self,
        plan: Plan,
        conversation: Conversation | None,
        sampler: Sampler,
        reward: SupervisedScorer | None,
        meter: BusyMeter,
        places: Places,
    ) -> None:
        self.ledger = Ledger(plan)
        self.committed: list[int] = []  # candidates that will be returned whatever happens, best first
        self.news = asyncio.Event()  # set when `committed` or one of its candidates has grown, and when the run is over
        self._meter = meter  # charges the ledger for what is at work
        self._strategy = plan.strategy
        self._conversation = conversation  # None where nothing is chosen
        self._scoring: Scoring | None = None
        self._sampler = sampler
        self._reward = reward
        self._places = places
        self._place_of: dict[int, Place] = {}  # of each candidate, until nothing more is computed for it
        self._happenings: asyncio.Queue[Event | Exception | None] = asyncio.Queue()
        self._sampling: set[asyncio.Task[None]] = set()
        self._scoring_tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._alarm: asyncio.TimerHandle | None = None
        self._work = asyncio.create_task(self._run())
        self._work.add_done_callback(self._noted)

    # -- the verbs

    async def _run(self) -> tuple[int, ...]:
        try:
            await self._begin()
            while self.ledger.stop_reason is None and not self._closed:
                happening = await self._happenings.get()
                if isinstance(happening, Exception):
                    self._do_without(happening)
                elif happening is not None:
                    self._perform(self._strategy.decide(happening, self.ledger.candidates))
                    self._free_place(happening)
        finally:
            await self._end_all()
        if self.ledger.stop_reason is None:
            raise NothingGenerated("the request was closed")
        if self.ledger.stop_reason == "complete" and self._scoring is not None and not self.ledger.rewards:
            self.ledger.stop_reason = "unscored"
        return self._select()

    async def best(self) -> tuple[int, ...]:
        """Indices of the candidates to return, best first. Who waits here may leave: the run goes on until `close`.

        Raises:
            InvalidRequest, RewardModelDown, EngineDown, DeadlineExceeded, BelowMinReward, NothingGenerated: see
                `service.rerank.errors`.
            Exception: what the engine raised, when every candidate failed for the same reason.
        """
        await asyncio.wait([self._work])
        return self._work.result()

    def fail(self, error: ServiceError) -> None:
        """End everything that still runs; who waits for the best candidates gets the error."""
        self._happenings.put_nowait(error)

    def close(self) -> "asyncio.Task[tuple[int, ...]]":
        """End everything that still runs; the task is done when it is all accounted for."""
        self._closed = True
        self._happenings.put_nowait(None)
        return self._work

    def when_over(self, callback: Callable[[], None]) -> None:
        """Call `callback` once `best` has its answer."""
        self._work.add_done_callback(lambda _: callback())

    @property
    def over(self) -> bool:
        """`best` has its answer."""
        return self._work.done()

    # -- steps

    async def _begin(self) -> None:
        if self._strategy.alarm_s is not None:
            loop = asyncio.get_running_loop()
            self._alarm = loop.call_later(self._strategy.alarm_s, self._happenings.put_nowait, Clock())
        if self._conversation is not None and self._reward is not None and self.ledger.plan.scored:
            await self._begin_scoring(self._conversation, self._reward)
        else:
            self.ledger.conversation = self._conversation
        self._perform(self._strategy.start())

    async def _begin_scoring(self, conversation: Conversation, reward: SupervisedScorer) -> None:
        """Whatever can be known before anything is sampled: that nothing will be scored, above all."""
        scoring = await Scoring.of(reward, conversation)
        self.ledger.conversation = scoring.conversation
        if reward.failure is not None:
            self._give_up_ranking(reward.failure)
        elif excess := scoring.excess_tokens:
            self._refuse_too_long(excess, conversation.param, reward)
        else:
            self._scoring = scoring
            reward.subscribe(self._happenings.put_nowait)
            self._start(self._scoring_tasks, self._charged("score", partial(self._prefill, scoring)))

    def _refuse_too_long(self, excess: int, param: str, reward: SupervisedScorer) -> None:
        if reward.on_failure == "error":
            message = (
                f"{param}: the prompt alone is {excess} tokens more than the reward model reads, which is "
                f"{reward.max_tokens} with an answer; shorten it, or ask for best_of 1 without rerank"
            )
            raise InvalidRequest(message, param=param)
        self._strategy = self._unranked("prompt_too_long")

    def _unranked(self, reason: str) -> Unranked:
        plan = self.ledger.plan
        pick = plan.selection.pick
        return Unranked(self._strategy, plan.n, plan.best_of, pick.votes or pick.free, reason)

    def _perform(self, actions: Sequence[Action]) -> None:
        for action in actions if not self._closed else ():
            match action:
                case Sample(count):
                    for _ in range(count):
                        self._sample_one()
                case AskForScore(index):
                    self._score_one(self.ledger.records[index])
                case Abort(index):
                    self._abort_one(self.ledger.records[index])
                case Commit(index):
                    if index not in self.committed:
                        self.committed.append(index)
                        self.news.set()
                case Stop(reason):
                    self.ledger.stop_reason = self.ledger.stop_reason or reason

    def _sample_one(self) -> None:
        record = CandidateRecord(Candidate(len(self.ledger.records)))
        self.ledger.records.append(record)
        place = self._place_of[record.view.index] = self._places.ask()
        self._start(self._sampling, self._sample_in(place, record))

    def _score_one(self, record: CandidateRecord) -> None:
        record.view = record.view.score_asked()
        self._start(self._scoring_tasks, self._charged("score", partial(self._score, record)))

    def _abort_one(self, record: CandidateRecord) -> None:
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
        if isinstance(error, ShuttingDown | _GivenUp):
            self.ledger.stop_reason = "shutdown"
        if isinstance(error, _GivenUp) and any(candidate.state == "finished" for candidate in self.ledger.candidates):
            return
        if not isinstance(error, RewardUnavailable):
            raise error
        if not isinstance(self._strategy, Unranked):
            self._give_up_ranking(error)
            self._perform(self._strategy.decide(RewardLost(), self.ledger.candidates))

    def _give_up_ranking(self, error: RewardUnavailable) -> None:
        if self._reward is None or self._reward.on_failure == "error":
            raise RewardModelDown(f"the reward model is unavailable: {error}") from error
        self._strategy = self._unranked("reward_unavailable")
        for record in self.ledger.records:
            if record.view.state != "running":
                self._leave_place(record.view.index)  # whatever score it waits for

    async def _sample_in(self, place: Place, record: CandidateRecord) -> None:
        """A candidate that was aborted while it waited ends without a place."""
        if not place.granted.done():
            await asyncio.wait([place.granted])  # which leaves the future alone when it is cancelled itself
        if place.granted.result():
            await self._charged("generate", partial(self._sample, record))
        else:
            await self._sample(record)

    async def _sample(self, record: CandidateRecord) -> None:
        index = record.view.index
        noted_tokens = 0
        try:
            async for draft in self._sampler.sample(index):
                record.pieces.append(draft.text)
                record.view = record.view.grown(draft.tokens, draft.logprob, draft.self_certainty)
                if index in self.committed:
                    self.news.set()
                step = self._strategy.checkpoint_tokens
                at_checkpoint = step is not None and record.view.tokens - noted_tokens >= step
                if at_checkpoint or draft.finish_reason is not None or not record.growth:
                    record.growth.append((record.view.tokens, time.monotonic()))
                if draft.finish_reason is not None:
                    ended = self.ledger.note_end(record, draft.finish_reason)
                    asked_for = record.view.aborting or self._closed or self.ledger.plan.passes_on
                    given_up = ended == "aborted" and not asked_for
                    self._happenings.put_nowait(_GivenUp() if given_up else _ENDED[ended](index))
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
        else:
            self._stop_waiting(index)

    def _stop_waiting(self, index: int) -> None:
        """For a place: what was aborted needs none, and one that it has comes back by itself."""
        if (place := self._place_of.get(index)) is not None and not place.granted.done():
            self._places.leave(place)

    def _free_place(self, event: Event) -> None:
        match event:
            case Finished(index) | Aborted(index) | Failed(index) | Scored(index):
                view = self.ledger.records[index].view
                unranked = isinstance(self._strategy, Unranked)
                if view.state != "running" and (unranked or not view.scores_pending):
                    self._leave_place(index)

    def _leave_place(self, index: int) -> None:
        if (place := self._place_of.pop(index, None)) is not None:
            self._places.leave(place)

    async def _prefill(self, scoring: Scoring) -> None:
        try:
            await scoring.prefill()
        except Exception as error:
            self._happenings.put_nowait(error)

    async def _score(self, record: CandidateRecord) -> None:
        assert self._scoring is not None
        try:
            await self._scoring.score(self.ledger, record)
        except Exception as error:
            self._happenings.put_nowait(error)
        else:
            self._happenings.put_nowait(Scored(record.view.index))

    def _select(self) -> tuple[int, ...]:
        began_s = time.monotonic()
        self.ledger.choice = self.ledger.plan.choose(self.ledger.candidates, unranked=self._goes_unranked)
        self.ledger.select_s = time.monotonic() - began_s
        if len(self.ledger.selected) < self.ledger.plan.least:
            raise self.ledger.nothing_to_return()
        return self.ledger.selected

    @property
    def _goes_unranked(self) -> bool:
        strategy = self._strategy
        return isinstance(strategy, Unranked) and not strategy.votes and not strategy.is_ranked(self.ledger.candidates)

    async def _end_all(self) -> None:
        """The one place where a run's work ends, however it came to that."""
        self._closed = True
        if self._reward is not None:
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
        for index in running:
            self._stop_waiting(index)
        await asyncio.gather(*self._sampling, *scoring, return_exceptions=True)
        for index in list(self._place_of):
            self._leave_place(index)
        self.ledger.prompt_tokens = self._sampler.prompt_tokens
        self.ledger.cached_prompt_tokens = self._sampler.cached_prompt_tokens
        self.ledger.ended_s = time.monotonic()

    def _noted(self, work: "asyncio.Task[tuple[int, ...]]") -> None:
        """Nobody may be left to hear how the run ended, so asyncio should not report its error as unheard."""
        self.news.set()
        if not work.cancelled():
            work.exception()
