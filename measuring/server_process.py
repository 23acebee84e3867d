"""A server as a process of its own, for as long as something is measured with it: started, waited for, ended."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_POLL_S = 0.5
_STOP_S = 60

QUIET = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "TORCHDYNAMO_DISABLE": "1",
}
"""The environment in which vLLM starts quickly and prints errors only."""

Command = Callable[[int], Sequence[str]]
"""The command line of a server on that port."""


class ServerFailed(ConnectionError):
    """A server did not start, or did not do what was asked."""


@dataclass(frozen=True)
class ServerProcess:
    """A server that is ready."""

    url: str  # its root, without /v1
    pid: int


def bestofn(*arguments: str) -> list[str]:
    """The command `bestofn` of this Python."""
    return [sys.executable, "-m", "bestofn_server", *arguments]


def bestofn_serve(options: Sequence[str] = ()) -> Command:
    """`bestofn serve`, with the bundled models unless the options name others."""
    return lambda port: bestofn("serve", *options, "--port", str(port))


@contextmanager
def serving(
    command: Command,
    log: Path,
    *,
    environment: Mapping[str, str] | None = None,
    ready: str = "/ready",
    start_s: float = 600,
) -> Iterator[ServerProcess]:
    """Serve on a free local port until the end; what the server prints goes into `log`.

    ready: the path that answers once the server does. Raises ServerFailed with the end of the log where the server ends
    or is not ready after `start_s` seconds.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with running(command(port), log, environment=environment) as process:
        until_ready(f"{url}{ready}", process, log, start_s)
        yield ServerProcess(url, process.pid)


@contextmanager
def running(
    command: Sequence[str], log: Path, *, environment: Mapping[str, str] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command, its output going into `log`, and end it at the end. `environment` is added to this process's."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})}
        )
        try:
            yield process
        finally:
            _stop(process)


def until_ready(url: str, process: "subprocess.Popen[bytes]", log: Path, start_s: float = 600) -> None:
    """Until `url` answers. Raises ServerFailed with the end of the log where the process ends or takes longer."""
    give_up_s = time.monotonic() + start_s
    while process.poll() is None and time.monotonic() < give_up_s:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(_POLL_S)
    end = log.read_text(encoding="utf-8", errors="replace")[-2000:]
    why = "ended" if process.poll() is not None else f"was not ready after {start_s:.0f} s"
    raise ServerFailed(f"the server {why}; {log} ends with:\n{end}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """A local port that nothing listened on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
