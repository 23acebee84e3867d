"""A server's life: started, asked who its processes are, signalled, ended, and looked for what it left behind."""

import asyncio
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import psutil

from measuring.server_process import QUIET, bestofn_serve, free_port, until_ready

Target = Literal["api", "generator", "reward"]
TARGETS: tuple[Target, ...] = ("api", "generator", "reward")

MAX_CANDIDATES = 64
_CORE = "VLLM::EngineCore"
_END_S = 30.0
_LINGER_S = 5.0
_POLL_S = 0.05


@dataclass
class Life:
    """A server that was started. known: every process of it that was ever seen."""

    url: str
    process: "subprocess.Popen[bytes]"
    log: Path
    candidates: Path
    known: dict[int, psutil.Process] = field(default_factory=dict)

    def look(self) -> None:
        """Note the processes that there are now."""
        with suppress(psutil.NoSuchProcess):
            api = psutil.Process(self.process.pid)
            for found in [api, *api.children(recursive=True)]:
                self.known[found.pid] = found

    def pid(self, target: Target) -> int | None:
        """The API process, or an engine's core; None where it does not run."""
        self.look()
        if target == "api":
            return self.process.pid if self.process.poll() is None else None
        cores = [found for found in self.known.values() if _name(found) == _CORE]
        cores.sort(key=lambda core: core.create_time())  # the generator is started first
        place = TARGETS.index(target) - 1
        return cores[place].pid if place < len(cores) and is_alive(cores[place]) else None

    def signal(self, target: Target, number: signal.Signals) -> bool:
        """Whether there was a process to signal."""
        pid = self.pid(target)
        if pid is None:
            return False
        os.kill(pid, number)
        return True

    async def shows(self, target: Target, within_s: float) -> bool:
        """Whether that process is there, once it is; False where it is not within so long."""
        give_up_s = time.monotonic() + within_s
        while time.monotonic() < give_up_s:
            if self.pid(target) is not None or self.process.poll() is not None:
                break
            await asyncio.sleep(_POLL_S)
        return self.pid(target) is not None

    async def ended(self, within_s: float) -> int | None:
        """The exit status of the API process, once it has ended; None where it has not within so long."""
        give_up_s = time.monotonic() + within_s
        while self.process.poll() is None and time.monotonic() < give_up_s:
            self.look()
            await asyncio.sleep(_POLL_S)
        return self.process.poll()

    async def left_behind(self) -> list[str]:
        """Processes that are still there a while after the API process ended; they are ended now."""
        left = await asyncio.to_thread(self._linger)
        names = [f"{_name(process)} ({process.pid})" for process in left]
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        await asyncio.to_thread(psutil.wait_procs, left, _LINGER_S)
        return names

    def _linger(self) -> list[psutil.Process]:
        give_up_s = time.monotonic() + _LINGER_S
        while (left := [p for p in self.known.values() if is_alive(p)]) and time.monotonic() < give_up_s:
            time.sleep(_POLL_S)
        return left

    async def end(self) -> None:
        """As a supervisor does, and by force where that does not help."""
        if self.process.poll() is None:
            self.look()
            for found in self.known.values():
                with suppress(psutil.NoSuchProcess):
                    found.resume()
            self.process.terminate()
            if await self.ended(_END_S) is None:
                self.process.kill()
                self.process.wait()
        await self.left_behind()


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return "gone"


@contextmanager
def spawned(options: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> Iterator[Life]:
    """A server that has just been started, with a candidate log of its own; it is not ended here."""
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        port, log, candidates = free_port(), Path(folder) / "server.log", Path(folder) / "candidates"
        candidates.mkdir()
        ours = ["--max-candidates", str(MAX_CANDIDATES), "--candidate-log", str(candidates)]
        with log.open("wb") as output:
            process = subprocess.Popen(
                bestofn_serve(["arithmetic", *ours, "--disable-uvicorn-access-log", *options])(port),
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **QUIET, **(environment or {})},
            )
        yield Life(f"http://127.0.0.1:{port}", process, log, candidates)


@asynccontextmanager
async def living(options: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> AsyncIterator[Life]:
    """A server that is ready; at the end nothing of it is left. Raises ServerFailed where it does not start."""
    with spawned(options, environment) as life:
        try:
            await asyncio.to_thread(until_ready, f"{life.url}/ready", life.process, life.log)
            life.look()
            yield life
        finally:
            await life.end()


@dataclass(frozen=True)
class Log:
    """What a candidate log holds. torn: whole lines that are no JSON. open_ends: files whose last line has no end."""

    request_ids: frozenset[str]
    torn: int
    open_ends: int


def read_log(*folders: Path) -> Log:
    """All files of these folders together."""
    ids, torn, open_ends = set(), 0, 0
    for path in (path for folder in folders for path in sorted(folder.glob("*.jsonl"))):
        *lines, rest = path.read_bytes().split(b"\n")
        open_ends += bool(rest)
        for line in lines:
            try:
                ids.add(str(json.loads(line).get("request_id")))
            except (ValueError, AttributeError):
                torn += 1
    return Log(frozenset(ids), torn, open_ends)
