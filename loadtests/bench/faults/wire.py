"""One request over a connection of its own, by hand: a client that leaves, reads slowly, or sees where a body breaks.

A client library hides what matters here: whether a body came to its end or the connection broke off in it.
"""

import asyncio
import json
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import h11

_READ_BYTES = 65536
_SMALL_BYTES = 4096
_PATIENCE_S = 60.0

OnData = Callable[[bytes], None]


@dataclass(frozen=True)
class Asked:
    """A request. `body` is sent as JSON, or as it is where it is bytes."""

    path: str
    body: Mapping[str, Any] | bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    request_id: str = field(default_factory=lambda: f"fault-{uuid4().hex}")

    @property
    def streamed(self) -> bool:
        """Whether it asks for a stream of events."""
        return not isinstance(self.body, bytes) and bool(self.body.get("stream"))


@dataclass(frozen=True)
class Manners:
    """How a client behaves.

    leave_after_s: closes the connection after so long, whatever has come. read_bytes, pause_s: reads so much, then
    waits so long. on_data: gets the body's bytes as they come.
    """

    leave_after_s: float | None = None
    read_bytes: int = _READ_BYTES
    pause_s: float = 0.0
    patience_s: float = _PATIENCE_S
    on_data: OnData | None = None


@dataclass
class Reply:
    """What came back. Times are of `time.monotonic`.

    status: 0 where nothing came. whole: the body came to the end that HTTP gives it. left: the client broke it off.
    trouble: what the connection did instead.
    """

    asked: Asked
    sent_s: float
    ended_s: float = 0.0
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    whole: bool = False
    left: bool = False
    trouble: str = ""


async def send(url: str, asked: Asked, manners: Manners | None = None) -> Reply:
    """Ask once. Never raises for what the server does: the reply holds it."""
    manners = manners or Manners()
    reply = Reply(asked, sent_s=time.monotonic())
    limit_s = manners.patience_s if manners.leave_after_s is None else manners.leave_after_s
    try:
        async with asyncio.timeout(limit_s):
            await _exchange(url, reply, manners)
    except TimeoutError:
        reply.left = manners.leave_after_s is not None
        reply.trouble = "the client left" if reply.left else f"no end after {limit_s:g} s"
    except (OSError, h11.RemoteProtocolError) as error:
        reply.trouble = f"{type(error).__name__}: {error}"
    reply.ended_s = time.monotonic()
    return reply


async def _exchange(url: str, reply: Reply, manners: Manners) -> None:
    host, port = url.removeprefix("http://").split(":")
    with socket.socket() as sock:
        sock.setblocking(False)
        if manners.pause_s:  # else the kernel reads on for a client that does not
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BYTES)
        await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
        reader, writer = await asyncio.open_connection(sock=sock.dup(), limit=min(manners.read_bytes, _READ_BYTES))
    try:
        writer.write(_request(reply.asked, f"{host}:{port}"))
        await writer.drain()
        await _read(reader, reply, manners)
    finally:
        writer.transport.abort()


def _request(asked: Asked, host: str) -> bytes:
    data = asked.body if isinstance(asked.body, bytes) else json.dumps(asked.body).encode()
    headers = {
        "host": host,
        "content-type": "application/json",
        "content-length": str(len(data)),
        "connection": "close",
        "x-request-id": asked.request_id,
        **asked.headers,
    }
    lines = [f"POST {asked.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + data


async def _read(reader: asyncio.StreamReader, reply: Reply, manners: Manners) -> None:
    """Until the body's end or the connection's."""
    parser = h11.Connection(h11.CLIENT)
    parser.send(h11.Request(method="POST", target=reply.asked.path, headers=[("host", "x"), ("content-length", "0")]))
    parser.send(h11.EndOfMessage())
    while True:
        event = parser.next_event()
        if event is h11.NEED_DATA:
            data = await reader.read(manners.read_bytes)
            parser.receive_data(data)
            if manners.pause_s:
                await asyncio.sleep(manners.pause_s)
        elif isinstance(event, h11.Response):
            reply.status = event.status_code
            reply.headers = {name.decode(): value.decode() for name, value in event.headers}
        elif isinstance(event, h11.Data):
            reply.body += bytes(event.data)
            if manners.on_data is not None:
                manners.on_data(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            reply.whole = True
            return
        elif isinstance(event, h11.ConnectionClosed):
            raise ConnectionResetError("the connection was closed without an answer")
