"""Requests at the times of a Poisson process, whatever becomes of those before: what many independent users do.

A closed loop asks a slow server less; this one goes on, and a request's latency counts from when it was due, so that
a client that lags behind hides nothing (no coordinated omission).
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx2

from measuring.client import Answer, send
from training.data.records import Conversation
from training.labs.lab import Lab


@dataclass(frozen=True)
class Timed:
    """due_s: when it was to be sent, since the run began."""

    due_s: float
    answer: Answer

    @property
    def latency_s(self) -> float:
        """From when it was due to its last byte."""
        return self.answer.started_s + self.answer.latency_s - self.due_s


def arrivals(rate: float, seconds: float, *, seed: int) -> Iterator[float]:
    """Times of a Poisson process, from 0. rate: a second."""
    generator = random.Random(seed)
    due_s = generator.expovariate(rate)
    while due_s < seconds:
        yield due_s
        due_s += generator.expovariate(rate)


async def offer_questions(
    client: httpx2.AsyncClient,
    world: Lab,
    body: Callable[[int, Conversation], Mapping[str, Any]],
    rate: float,
    seconds: float,
    *,
    seed: int,
) -> list[tuple[Timed, Conversation]]:
    """Held-out prompts of a lab as Poisson arrivals; the same seed gives the same ones at the same times.

    body: of the request for a prompt, by its number.
    """
    due_s = list(arrivals(rate, seconds, seed=seed))
    prompts = world.prompts(len(due_s), "held_out", seed=seed)
    timed = await offer(client, [body(number, prompt) for number, prompt in enumerate(prompts)], due_s)
    return list(zip(timed, prompts, strict=True))


async def offer(client: httpx2.AsyncClient, bodies: Sequence[Mapping[str, Any]], due_s: Sequence[float]) -> list[Timed]:
    """Send each body when it is due; what came of each, in order, once all have been answered or refused."""
    began_s = time.perf_counter()

    async def one(index: int) -> Timed:
        await asyncio.sleep(max(began_s + due_s[index] - time.perf_counter(), 0))
        return Timed(due_s[index], await send(client, bodies[index], index=index, began_s=began_s))

    return list(await asyncio.gather(*(one(index) for index in range(len(due_s)))))
