"""What clients ask while faults happen: all four endpoints, streamed and not, each again when it is answered."""

import asyncio
from collections.abc import Sequence
from typing import Any

from loadtests.bench.faults.judge import MESSAGES, RESPONSES
from loadtests.bench.faults.wire import Asked, Manners, Reply, send

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
SHAPES = tuple((path, streamed) for path in (CHAT, COMPLETIONS, MESSAGES, RESPONSES) for streamed in (False, True))
LONG = "What is 11+22+33+44+55+66+77+88+99?"
MODEL = "arithmetic"
_REFUSED_PAUSE_S = 0.2


def asking(
    path: str, streamed: bool = False, *, question: str = LONG, best_of: int = 4, tokens: int = 60, **more: Any
) -> Asked:
    """A request of that endpoint."""
    said = [{"role": "user", "content": question}]
    body: dict[str, Any] = {"model": MODEL, "best_of": best_of, "temperature": 1.0, **more}
    if path == COMPLETIONS:
        body |= {"prompt": question, "max_tokens": tokens}
    elif path == RESPONSES:
        body |= {"input": question, "max_output_tokens": tokens}
    else:
        body |= {"messages": said, "max_tokens": tokens}
    if streamed:
        body["stream"] = True
        if path in (CHAT, COMPLETIONS):
            body["stream_options"] = {"include_usage": True}
    return Asked(path, body)


class Traffic:
    """Clients that ask in a closed loop until `finish`."""

    def __init__(self, url: str, shapes: Sequence[tuple[str, bool]] = SHAPES, **more: Any) -> None:
        self._url = url
        self._stopping = False
        self._more = more
        self.replies: list[Reply] = []
        self._clients: list[asyncio.Task[None]] = []
        self._single: list[asyncio.Task[Reply]] = []
        self.start(shapes)

    def start(self, shapes: Sequence[tuple[str, bool]]) -> None:
        """A client more for each of these shapes."""
        self._clients += [asyncio.create_task(self._ask(*shape)) for shape in shapes]

    def add(self, asked: Asked, manners: Manners | None = None) -> "asyncio.Task[Reply]":
        """One request more, whose reply counts as the others do."""
        task = asyncio.create_task(send(self._url, asked, manners))
        self._single.append(task)
        return task

    async def _ask(self, path: str, streamed: bool) -> None:
        while not self._stopping:
            reply = await send(self._url, asking(path, streamed, **self._more))
            self.replies.append(reply)
            if reply.status != 200:
                await asyncio.sleep(_REFUSED_PAUSE_S)

    async def finish(self) -> list[Reply]:
        """Nobody asks again; all replies, once the last has come."""
        self._stopping = True
        await asyncio.gather(*self._clients)
        return [*self.replies, *(await asyncio.gather(*self._single))]


def in_flight_at(replies: Sequence[Reply], moment_s: float) -> list[Reply]:
    """Those that had been sent and were not over."""
    return [reply for reply in replies if reply.sent_s <= moment_s < reply.ended_s]
