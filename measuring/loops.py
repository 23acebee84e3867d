"""Many requests to one server, in one of two loops, and what came of them.

Closed (`drive`): so many clients, each of which sends its next request when the last one is answered. A server that
stalls is asked less, and fewer of its slow answers are counted (coordinated omission). Open (`offer`): each request at
its own time, whatever becomes of those before, as of many independent users; its latency counts from when it was due.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx2

from measuring.answers import Answer
from measuring.client import send
from measuring.server_process import ServerFailed


@dataclass(frozen=True)
class Load:
    """What came of the requests of one loop."""

    answers: tuple[Answer, ...]  # one for each request, in order

    @property
    def wall_s(self) -> float:
        """From when the first could be sent to the last byte of all."""
        return max((answer.due_s + answer.latency_s for answer in self.answers), default=0.0)

    @property
    def succeeded(self) -> tuple[Answer, ...]:
        return tuple(answer for answer in self.answers if answer.ok)

    @property
    def failed(self) -> tuple[Answer, ...]:
        """Those that were refused too."""
        return tuple(answer for answer in self.answers if not answer.ok)

    @property
    def latencies_s(self) -> tuple[float, ...]:
        """Of those that succeeded."""
        return tuple(answer.latency_s for answer in self.succeeded)

    @property
    def requests_per_second(self) -> float:
        """Of those that succeeded."""
        return len(self.succeeded) / self.wall_s if self.wall_s else 0.0

    def whole(self, what: str) -> "Load":
        """This load. Raises ServerFailed, which names `what` was asked, where a request failed."""
        if failed := self.failed:
            count = f"{len(failed)} of {len(self.answers)} requests failed"
            raise ServerFailed(f"{what}: {count}, the first: {failed[0].error}")
        return self


async def drive(
    client: httpx2.AsyncClient,
    bodies: Iterable[Mapping[str, Any]],
    clients: int,
    *,
    answered: Callable[[Answer], None] | None = None,
    tries: int = 1,
) -> Load:
    """Send every body in a closed loop of `clients`; `answered` is called with each answer as it comes.

    A client that was refused waits for as long as the server asked before it sends again. tries: how often a request is
    sent at most while it fails for a reason that may pass; its last answer counts. With 1 nothing is sent twice.
    """
    waiting = enumerate(bodies)
    answers: list[Answer] = []
    began_s = time.perf_counter()

    async def one_client() -> None:
        wait_s = 0.0
        for index, body in waiting:
            for left in reversed(range(tries)):
                await asyncio.sleep(wait_s)
                answer = await send(client, body, index=index, began_s=began_s)
                again = left > 0 and answer.transient
                wait_s = answer.stay_away_s if answer.refused or again else 0.0
                if not again:
                    break
            answers.append(answer)
            if answered:
                answered(answer)

    await asyncio.gather(*(one_client() for _ in range(clients)))
    return Load(tuple(sorted(answers, key=lambda answer: answer.index)))


async def offer(client: httpx2.AsyncClient, bodies: Iterable[Mapping[str, Any]], due_s: Sequence[float]) -> Load:
    """Send each body when it is due, in an open loop; returns once all have been answered or refused."""
    began_s = time.perf_counter()

    async def one(index: int, body: Mapping[str, Any], due_s: float) -> Answer:
        await asyncio.sleep(max(began_s + due_s - time.perf_counter(), 0))
        return await send(client, body, index=index, began_s=began_s, due_s=due_s)

    requests = enumerate(zip(bodies, due_s, strict=True))
    answers = await asyncio.gather(*(one(index, body, due) for index, (body, due) in requests))
    return Load(tuple(answers))


def arrivals(rate: float, seconds: float, *, seed: int) -> Iterator[float]:
    """Times of a Poisson process, from 0. rate: a second."""
    generator = random.Random(seed)
    due_s = generator.expovariate(rate)
    while due_s < seconds:
        yield due_s
        due_s += generator.expovariate(rate)


def rotated(names: list[str], number: int) -> list[str]:
    """The order of a round in which all take turns: each is first once in as many rounds as there are names."""
    start = number % len(names)
    return names[start:] + names[:start]
