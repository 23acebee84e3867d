"""Sends requests with a fixed number of clients and writes down what each one cost: the core of `sweep` and `compare`.

The loop is closed: a client sends its next request when the last one is answered, and one that was refused waits first
for as long as the server asked. Nothing is sent twice.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from measuring import answers
from measuring.answers import CHAT, Json

_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Answer:
    """What came of one request.

    index: its place among the requests. status: of HTTP; 0 where no answer came. started_s: since the drive began.
    latency_s: from sending to the last byte. first_byte_s: from sending to the first byte, of a stream to the end of
    its first event; None where none came. body: the parsed JSON; of a stream the top-level fields of its events, each
    as it was last given, without the text. retry_after_s: as a refusal said. error: one line; empty where it succeeded.
    """

    index: int
    status: int
    started_s: float
    latency_s: float
    first_byte_s: float | None = None
    body: Json | None = None
    retry_after_s: float | None = None
    error: str = ""

    @property
    def ok(self) -> bool:
        return self.status == 200 and not self.error

    @property
    def refused(self) -> bool:
        """429: the server had no room."""
        return self.status == 429

    @property
    def rerank(self) -> Json:
        """The object `rerank`; empty where the server sent none."""
        return (self.body or {}).get("rerank") or {}

    @property
    def generated_tokens(self) -> int:
        """Tokens of all candidates, as `usage` bills them."""
        return answers.generated_tokens(self.body)

    @property
    def returned_tokens(self) -> int:
        """Tokens of the choices in the answer; without `rerank`, those are all that were generated."""
        return answers.returned_tokens(self.body)

    @property
    def dollars(self) -> float | None:
        """The whole price; None where the server knows no prices."""
        total = (self.rerank.get("cost") or {}).get("total")
        return None if total is None else float(total)


@dataclass(frozen=True)
class Load:
    """What `clients` clients saw. answers: one for each request, in order. wall_s: from first sending to last byte."""

    clients: int
    answers: tuple[Answer, ...]
    wall_s: float

    @property
    def succeeded(self) -> tuple[Answer, ...]:
        return tuple(answer for answer in self.answers if answer.ok)

    @property
    def latencies_s(self) -> tuple[float, ...]:
        """Of those that succeeded."""
        return tuple(answer.latency_s for answer in self.succeeded)

    @property
    def requests_per_second(self) -> float:
        """Of those that succeeded."""
        return len(self.succeeded) / self.wall_s if self.wall_s else 0.0


def root(url: str) -> str:
    """A server's address without /v1."""
    return url.rstrip("/").removesuffix("/v1")


@asynccontextmanager
async def connect(url: str, *, api_key: str = "", clients: int) -> AsyncIterator[httpx2.AsyncClient]:
    """A client for a server's root, with a connection for each of `clients`, none of which waits for another.

    url: with or without /v1. The proxies that the environment names are not used: what they cost would be measured too.
    """
    limits = httpx2.Limits(max_connections=clients, max_keepalive_connections=clients, keepalive_expiry=_TIMEOUT_S)
    headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
    async with httpx2.AsyncClient(
        base_url=root(url), headers=headers, limits=limits, timeout=_TIMEOUT_S, trust_env=False
    ) as client:
        yield client


async def drive(
    client: httpx2.AsyncClient,
    bodies: Iterable[Mapping[str, Any]],
    clients: int,
    *,
    path: str = CHAT,
    answered: Callable[[Answer], None] | None = None,
) -> Load:
    """Send every body, `clients` at a time; `answered` hears of each answer as it comes.

    A request that fails is an answer with its error, never an exception.
    """
    waiting = enumerate(bodies)
    heard: list[Answer] = []
    began_s = time.perf_counter()
    ended_s = began_s

    async def one_client() -> None:
        nonlocal ended_s
        wait_s = 0.0
        for index, body in waiting:
            await asyncio.sleep(wait_s)
            answer = await send(client, body, index=index, began_s=began_s, path=path)
            ended_s = time.perf_counter()
            heard.append(answer)
            if answered:
                answered(answer)
            wait_s = answers.stay_away_s(answer.retry_after_s) if answer.refused else 0.0

    await asyncio.gather(*(one_client() for _ in range(clients)))
    return Load(clients, tuple(sorted(heard, key=lambda answer: answer.index)), ended_s - began_s)


async def send(
    client: httpx2.AsyncClient, body: Mapping[str, Any], *, index: int = 0, began_s: float = 0.0, path: str = CHAT
) -> Answer:
    """One request. began_s: the value of `time.perf_counter` that `Answer.started_s` counts from."""
    sent_s = time.perf_counter()
    status, first_byte_s, retry_after_s, parsed, error = 0, None, None, None, ""
    try:
        async with client.stream("POST", path, json=body) as response:
            status, first_byte_s = response.status_code, time.perf_counter() - sent_s
            retry_after_s = answers.retry_after_s(response.headers.get("retry-after"))
            if response.headers.get("content-type", "").startswith("text/event-stream"):
                parsed, first_byte_s = await _read_events(response, sent_s)
            else:
                parsed = answers.parsed(await response.aread())
    except httpx2.HTTPError as trouble:
        error = answers.one_line(f"{type(trouble).__name__}: {trouble}")
    latency_s = time.perf_counter() - sent_s
    error = error or answers.what_is_wrong(status, parsed)
    return Answer(index, status, sent_s - began_s, latency_s, first_byte_s, parsed, retry_after_s, error)


async def _read_events(response: httpx2.Response, sent_s: float) -> tuple[Json, float | None]:
    """The fields of all events, and the seconds to the end of the first; comments are no events.

    A stream that was cut off has the field `error`.
    """
    fields: Json = {}
    first_s = None
    ended = False
    async for event in httpx2.EventSource(response):
        first_s = time.perf_counter() - sent_s if first_s is None else first_s
        ended = event.data == answers.DONE
        given = {} if ended else answers.parsed(event.data) or {}
        fields |= {key: value for key, value in given.items() if key != "choices" and value is not None}
    if not ended:
        fields.setdefault("error", answers.UNFINISHED)
    return fields, first_s


def rotated(names: list[str], number: int) -> list[str]:
    """The order of a round in which all take turns: each is first once in as many rounds as there are names."""
    start = number % len(names)
    return names[start:] + names[:start]
