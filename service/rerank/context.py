"""What one HTTP request carries from the gateway, through vLLM's application, to the engine below it, and back."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import ExitStack
from contextvars import ContextVar
from dataclasses import dataclass, field

from service.rerank.errors import ServiceError
from service.rerank.ledger import Ledger
from service.rerank.prices import Prices
from service.rerank.request import Ask
from service.rerank.run import Run


@dataclass
class RequestContext:
    """One request from admission to its record. Its runs end themselves; `close` makes them, and is the one place."""

    ask: Ask
    request_id: str = ""  # the header `x-request-id`
    places: ExitStack = field(default_factory=ExitStack)  # what it holds of the server until it is closed
    in_flight: int = 0  # candidates of the server when it was admitted, its own included
    prices: Prices | None = None  # what its work is charged at; None where the server knows none
    runs: list[Run] = field(default_factory=list)  # one for each prompt that has come to generation
    error: ServiceError | None = None  # the first of ours, so that the answer can carry it whatever vLLM makes of it
    started_s: float = field(default_factory=time.monotonic)

    @property
    def ledgers(self) -> Sequence[Ledger]:
        return [run.ledger for run in self.runs]

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

    def fail(self, error: ServiceError) -> None:
        """End the request with an error, whatever it is at."""
        self.error = self.error or error
        for run in self.runs:
            run.fail(error)

    async def close(self) -> None:
        """End whatever the request left running, wait until it is accounted for, and give its places back.

        May be called again, and by two at once: each returns when all is over.
        """
        closing = [run.close() for run in self.runs]
        if closing:
            await asyncio.wait(closing)  # unlike gather, leaves them alone when it is cancelled itself
        self.places.close()


current_request: ContextVar[RequestContext | None] = ContextVar("current_request", default=None)
