"""What one HTTP request carries from the gateway, through vLLM's application, to the engine below it."""

import asyncio
import time
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

from reward.conversation import Conversation
from service.rerank.errors import ServiceError
from service.rerank.ledger import Ledger
from service.rerank.prices import Prices
from service.rerank.request import Ask


class Generation(Protocol):
    """One prompt's candidates at work: a reranked run, or a relay of plain vLLM output."""

    ledger: Ledger

    def close(self) -> "asyncio.Task[None]":
        """End everything that still runs; the task is done when its tokens are known."""


@dataclass
class RequestContext:
    """request_id: the header `x-request-id`. conversation: as vLLM rendered it last; None for a bare prompt.

    in_flight: candidates of the server when it was admitted, its own included.
    prices: what its work is charged at; None where the server knows none.
    error: the first error of ours, so that the answer can carry it whatever vLLM makes of it. started_s: monotonic.
    """

    ask: Ask
    request_id: str = ""
    in_flight: int = 0
    prices: Prices | None = None
    conversation: Conversation | None = None
    generations: list[Generation] = field(default_factory=list)
    error: ServiceError | None = None
    started_s: float = field(default_factory=time.monotonic)

    @property
    def ledgers(self) -> Sequence[Ledger]:
        return [generation.ledger for generation in self.generations]

    @property
    def as_admitted(self) -> bool:
        """Whether it sampled all that it held places for; a model's own temperature 0 makes them fewer."""
        return sum(ledger.plan.best_of for ledger in self.ledgers) == self.ask.candidates

    def cost(self, ledgers: Sequence[Ledger]) -> dict[str, float] | None:
        """Dollars by part for some of its ledgers; None where the server knows no prices."""
        return None if self.prices is None else self.prices.cost(ledgers)

    async def close(self) -> None:
        """End whatever the request left running, and wait until it is accounted for."""
        closing = [generation.close() for generation in self.generations]
        if closing:
            await asyncio.wait(closing)  # unlike gather, leaves them alone when it is cancelled itself


current_request: ContextVar[RequestContext | None] = ContextVar("current_request", default=None)
