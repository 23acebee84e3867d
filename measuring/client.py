"""The client that drives a server to measure it: a request is sent once, and its answer is timed.

Who gathers data needs another one, which hides failures by asking again: `training.samples.endpoint`.
"""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from measuring.answers import CHAT, Answer, Events, Json, one_line, parsed, retry_after_s, what_is_wrong

_TIMEOUT_S = 600.0


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


async def models(client: httpx2.AsyncClient) -> list[str]:
    """The names that the server lists, its aliases too. Raises ConnectionError where there is no such list."""
    address = str(client.base_url).rstrip("/")
    try:
        listed = (await client.get("/v1/models")).raise_for_status().json()["data"]
        return [str(model["id"]) for model in listed]
    except httpx2.TransportError as error:
        raise ConnectionError(f"no server answers at {address}: {type(error).__name__}: {error}") from error
    except (httpx2.HTTPError, ValueError, LookupError, TypeError) as error:
        raise ConnectionError(f"{address}/v1/models: {type(error).__name__}: {error}") from error


async def first_model(client: httpx2.AsyncClient) -> str:
    """The first name that the server lists. Raises ConnectionError where there is none."""
    if names := await models(client):
        return names[0]
    raise ConnectionError(f"{client.base_url}: /v1/models lists no model")


async def send(
    client: httpx2.AsyncClient,
    body: Mapping[str, Any],
    *,
    index: int = 0,
    began_s: float = 0.0,
    due_s: float | None = None,
) -> Answer:
    """One request for a chat completion. One that fails is an answer with its error, never an exception.

    began_s: the value of `time.perf_counter` that `due_s` counts from. due_s: now, unless it is given.
    """
    due_at_s = time.perf_counter() if due_s is None else began_s + due_s
    status, first_byte_s, asked_s, read, error = 0, None, None, None, ""
    try:
        async with client.stream("POST", CHAT, json=body) as response:
            status, first_byte_s = response.status_code, time.perf_counter() - due_at_s
            asked_s = retry_after_s(response.headers.get("retry-after"))
            if response.headers.get("content-type", "").startswith("text/event-stream"):
                read, first_byte_s = await _read_events(response, due_at_s)
            else:
                read = parsed(await response.aread())
    except httpx2.HTTPError as trouble:
        error = one_line(f"{type(trouble).__name__}: {trouble}")
    return Answer(
        index=index,
        status=status,
        due_s=due_at_s - began_s,
        latency_s=time.perf_counter() - due_at_s,
        first_byte_s=first_byte_s,
        body=read,
        retry_after_s=asked_s,
        error=error or what_is_wrong(status, read),
    )


async def _read_events(response: httpx2.Response, due_at_s: float) -> tuple[Json, float | None]:
    """The body, and the seconds to the end of the first event."""
    events, first_s = Events(), None
    async for event in httpx2.EventSource(response):
        first_s = time.perf_counter() - due_at_s if first_s is None else first_s
        events.add(event.data)
    return events.body(), first_s
