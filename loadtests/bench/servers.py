"""The servers that benchmarks compare: the bundled policy under plain vLLM, and under bestofn."""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from measuring.serving import free_port, running, until_ready
from training.labs import checkpoint

QUIET = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "TORCHDYNAMO_DISABLE": "1",
}
_BUNDLED = "--dtype float32 --enforce-eager --block-size 32 --enable-auto-tool-choice --tool-call-parser hermes"
_ENGINE = [*_BUNDLED.split(), "--kv-cache-memory-bytes", str(256 * 2**20), "--disable-uvicorn-access-log"]

Command = Callable[[int], list[str]]  # of a server on that port


@dataclass(frozen=True)
class Serving:
    """A server that is healthy. url: its root."""

    url: str
    pid: int


def plain(port: int) -> list[str]:
    """vLLM's own server."""
    entry = "vllm.entrypoints.launchers.api_server.entry"
    return [sys.executable, "-m", entry, "--model", str(checkpoint("arithmetic-sft")), "--port", str(port), *_ENGINE]


def ours(port: int, options: Sequence[str] = ()) -> list[str]:
    """`bestofn serve`."""
    return [
        sys.executable,
        "-m",
        "bestofn_server",
        "serve",
        "--port",
        str(port),
        "--disable-uvicorn-access-log",
        *options,
    ]


@asynccontextmanager
async def started(command: Command, environment: Mapping[str, str] | None = None) -> AsyncIterator[Serving]:
    """Start a server, wait until it is healthy, and stop it at the end. Raises ServerFailed with its last words.

    environment: more than `QUIET`.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with running(command(port), log, environment={**QUIET, **(environment or {})}) as process:
            await asyncio.to_thread(until_ready, f"{url}/health", process, log)
            yield Serving(url, process.pid)
