"""How `collect` and `label` talk to an OpenAI-compatible endpoint: the official client, a bounded number of requests.

What is gathered is worth asking for again, from any provider and through any proxy, which the official client does. It
is no client to measure with: it hides failures and waits. For that there is `measuring.client`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from openai import APIConnectionError, APIError, AsyncOpenAI

Item = TypeVar("Item")


def connect(base_url: str, api_key: str) -> AsyncOpenAI:
    """A client that tries again, twice, when a request does not get through: no connection, overload, server fault."""
    return AsyncOpenAI(base_url=base_url, api_key=api_key or "none", max_retries=2, timeout=600)


async def first_model(client: AsyncOpenAI) -> str:
    """The first model that the server lists. Raises ConnectionError where it cannot be reached or lists none."""
    try:
        models = await client.models.list()
    except APIConnectionError as error:
        raise ConnectionError(f"no server answers at {client.base_url}: {error}") from error
    except APIError as error:
        raise ConnectionError(f"{client.base_url}models: {error}") from error
    if not models.data:
        raise ConnectionError(f"{client.base_url}models lists no model")
    return models.data[0].id


async def for_each(items: Sequence[Item], work: Callable[[Item], Awaitable[None]], *, at_once: int) -> None:
    """Do `work` on every item, `at_once` of them at the same time."""
    waiting = iter(items)

    async def worker() -> None:
        for item in waiting:
            await work(item)

    await asyncio.gather(*(worker() for _ in range(min(at_once, len(items)))))


def message_of(error: APIError) -> str:
    """The server's own words, where it sent some."""
    message = error.body.get("message") if isinstance(error.body, dict) else None
    return message if isinstance(message, str) else error.message


def in_one_line(error: Exception) -> str:
    """An error's kind and message."""
    message = message_of(error) if isinstance(error, APIError) else str(error)
    return f"{type(error).__name__}: {' '.join(message.split())[:200]}"
