"""Servers that a benchmark starts for itself: the bundled policy under plain vLLM, and under bestofn."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx2

from training.labs import checkpoint

QUIET = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "TORCHDYNAMO_DISABLE": "1",
}
_BUNDLED = "--dtype float32 --enforce-eager --block-size 32 --enable-auto-tool-choice --tool-call-parser hermes"
_ENGINE = [*_BUNDLED.split(), "--kv-cache-memory-bytes", str(256 * 2**20), "--disable-uvicorn-access-log"]
_START_S = 180

Command = Callable[[int], list[str]]  # of a server on that port


@dataclass(frozen=True)
class Serving:
    """A server that is ready. url: its root."""

    url: str
    pid: int


def plain(port: int) -> list[str]:
    """vLLM's own server."""
    entry = "vllm.entrypoints.launchers.api_server.entry"
    return [sys.executable, "-m", entry, "--model", str(checkpoint("arithmetic-sft")), "--port", str(port), *_ENGINE]


def ours(port: int, options: Sequence[str] = ()) -> list[str]:
    """`bestofn serve`."""
    return [sys.executable, "-m", "service", "serve", "--port", str(port), "--disable-uvicorn-access-log", *options]


@asynccontextmanager
async def serving(command: Command) -> AsyncIterator[Serving]:
    """Start a server, wait until it is healthy, and stop it at the end. Raises RuntimeError when it ends by itself."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command(port), env=os.environ | QUIET, stdout=quiet, stderr=quiet)
    server = Serving(f"http://127.0.0.1:{port}", process.pid)
    try:
        await _until_healthy(server, process)
        yield server
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _until_healthy(server: Serving, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(_START_S), httpx2.AsyncClient(trust_env=False) as client:
        while process.returncode is None:
            try:
                if (await client.get(f"{server.url}/health")).status_code == 200:
                    return
            except httpx2.TransportError:
                await asyncio.sleep(0.5)
    raise RuntimeError("a server ended before it was ready")
