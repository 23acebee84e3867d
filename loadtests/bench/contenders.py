"""The two that benchmarks compare, both with the bundled policy: plain vLLM's server, and `bestofn serve`."""

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from measuring.server_process import QUIET, Command, ServerProcess, bestofn_serve, serving
from training.labs import checkpoint

_BUNDLED = "--dtype float32 --enforce-eager --block-size 32 --enable-auto-tool-choice --tool-call-parser hermes"
_ENGINE = [*_BUNDLED.split(), "--kv-cache-memory-bytes", str(256 * 2**20), "--disable-uvicorn-access-log"]


def plain(port: int) -> list[str]:
    """vLLM's own server."""
    entry = "vllm.entrypoints.launchers.api_server.entry"
    return [sys.executable, "-m", entry, "--model", str(checkpoint("arithmetic-sft")), "--port", str(port), *_ENGINE]


def ours(options: Sequence[str] = ()) -> Command:
    """`bestofn serve arithmetic` with these options."""
    return bestofn_serve(["arithmetic", "--disable-uvicorn-access-log", *options])


@contextmanager
def started(command: Command, environment: Mapping[str, str] | None = None) -> Iterator[ServerProcess]:
    """Start one, wait until it is healthy, and end it at the end. Raises ServerFailed with what it printed last.

    environment: more than `QUIET`. Nothing else runs in this process meanwhile.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with serving(command, log, environment={**QUIET, **(environment or {})}, ready="/health") as server:
            yield server
