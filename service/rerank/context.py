"""What one request carries from where it is admitted, through vLLM's application, to the engine below it, and back."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import ExitStack
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import NoReturn

from service.rerank.errors import ServiceError
from service.rerank.ledger import CandidateRecord, Ledger
from service.rerank.prices import Prices
from service.rerank.protocols import Places
from service.rerank.request import Ask
from service.rerank.run import Run
from service.rerank.selection import Choice
from service.rerank.strategies.base import Candidate


@dataclass
class RequestContext:
    """One request from admission to its record. Its runs end themselves; `close` makes them, and is the one place."""

    ask: Ask
    places: Places  # of its candidates
    request_id: str = ""  # the header `x-request-id`
    held: ExitStack = field(default_factory=ExitStack)  # what it holds of the server until it is closed
    in_flight: int = 0  # candidates of the server when it was admitted, its own included
    prices: Prices | None = None  # what its work is charged at; None where the server knows none
    runs: list[Run] = field(default_factory=list)  # one for each prompt that has come to generation
    # Of what has no run for the whole of it: a beam search, which asks for each token, and input that is streamed.
    piecewise: Ledger | None = None
    error: ServiceError | None = None  # the first of ours, so that the answer can carry it whatever vLLM makes of it
    failure: ServiceError | None = None  # why the server ends the request, though what has an answer may give it
    started_s: float = field(default_factory=time.monotonic)
    _failed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def ledgers(self) -> Sequence[Ledger]:
        piecewise = [] if self.piecewise is None else [self.piecewise]
        return [*piecewise, *(run.ledger for run in self.runs)]

    @property
    def best_of(self) -> int:
        """Candidates for each prompt, as planned; as admitted where nothing was planned."""
        return max((ledger.plan.best_of for ledger in self.ledgers), default=self.ask.best_of)

    @property
    def as_admitted(self) -> bool:
        """Whether it sampled all that it held places for; a model's own temperature 0 makes them fewer."""
        return sum(ledger.plan.best_of for ledger in self.ledgers) == self.ask.candidates

    def cost(self, ledgers: Sequence[Ledger]) -> dict[str, float] | None:
        """Dollars by part for some of its ledgers; None where the server knows no prices."""
        return None if self.prices is None else self.prices.cost(ledgers)

    def begin(self, run: Run) -> None:
        """Take in a run, with which one of the request's prompts has come to generation."""
        self.runs.append(run)
        run.when_over(self._let_go)
        if self.failure is not None:
            run.fail(self.failure)

    def _let_go(self) -> None:
        """What it holds of the server, once nothing is left to generate: a client that does not read is no load."""
        if not self.ask.beam and len(self.runs) >= self.ask.prompts and all(run.over for run in self.runs):
            self.held.close()

    def take_step(self, run: Run) -> None:
        """Keep of a beam search's token, which is a run of its own, only what it adds to the account."""
        if self.piecewise is None:
            width, plan = self.ask.candidates, run.ledger.plan
            records = [CandidateRecord(Candidate(index)) for index in range(width)]
            self.piecewise = Ledger(replace(plan, best_of=width, n=width), records, choice=Choice(tuple(range(width))))
        self.piecewise.absorb(run.ledger)
        self.runs.remove(run)

    def fail(self, error: ServiceError) -> None:
        """End the request with an error, whatever it is at. A run that has its answer keeps it."""
        self.failure = self.failure or error
        if not self.runs:
            self.error = self.error or error
        self._failed.set()
        for run in self.runs:
            run.fail(error)

    async def until_failed(self) -> NoReturn:
        """Raises what `fail` is called with."""
        await self._failed.wait()
        assert self.failure is not None
        raise self.failure

    async def close(self) -> None:
        """End whatever the request left running, wait until it is accounted for, and give its places back.

        May be called again, and by two at once: each returns when all is over.
        """
        closing = [run.close() for run in self.runs]
        if closing:
            await asyncio.wait(closing)  # unlike gather, leaves them alone when it is cancelled itself
        self.held.close()


current_request: ContextVar[RequestContext | None] = ContextVar("current_request", default=None)
