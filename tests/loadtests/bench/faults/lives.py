"""A life of the tiny server, a server of scripted bytes, and replies as values."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from loadtests.bench.faults.life import Life
from loadtests.bench.faults.wire import Asked, Reply
from measuring.server_process import free_port, until_ready

TINY = Path(__file__).with_name("tiny_server.py")


@asynccontextmanager
async def tiny_life(folder: Path) -> AsyncIterator[Life]:
    port, log, candidates = free_port(), folder / "server.log", folder / "candidates"
    candidates.mkdir()
    command = [sys.executable, str(TINY), str(port), str(candidates)]
    process = await asyncio.to_thread(subprocess.Popen, command)
    life = Life(f"http://127.0.0.1:{port}", process, log, candidates)
    log.touch()
    try:
        await asyncio.to_thread(until_ready, f"{life.url}/metrics", process, log, 20)
        yield life
    finally:
        await life.end()


@asynccontextmanager
async def scripted(answer: bytes, *, hold: bool = False) -> AsyncIterator[str]:
    """The address of a server that sends these bytes for any request and closes; hold: leaves the connection open."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        if hold:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def http(body: bytes, status: str = "200 OK", kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def reply(
    path: str = "/v1/chat/completions", *, body: bytes = b"", kind: str = "application/json", **more: Any
) -> Reply:
    asked: Mapping[str, Any] = {"stream": True} if "event" in kind else {}
    values = {"sent_s": 0.0, "ended_s": 1.0, "status": 200, "whole": True, **more}
    return Reply(Asked(path, asked), headers={"content-type": kind}, body=body, **values)
