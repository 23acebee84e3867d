"""The engines' processes: they never outlive the server, and leave word of why they could not start.

vLLM starts each by `EngineCoreProc.run_engine_core`, in whose place `watch` puts this. Workers below an engine end with
it, by a pipe of vLLM's own. vLLM is imported where it is needed, since importing it takes seconds in which a process
that was just spawned is watched already.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

_PR_SET_PDEATHSIG = 1


class WatchedEngine:
    """What an engine's process runs. run: vLLM's own; None where the process was spawned, and has to look for it.

    server_pid: of the process that it may not outlive. report: that process's descriptor of a file for what goes wrong.
    """

    def __init__(self, run: Callable[..., None] | None, server_pid: int, report: int) -> None:
        self._run = run
        self._server_pid = server_pid
        self._report = report

    def __call__(self, *args: Any, **options: Any) -> None:
        end_with(self._server_pid)
        try:
            (self._run or _vllms())(*args, **options)
        except Exception as error:
            with suppress(OSError), open(f"/proc/{self._server_pid}/fd/{self._report}", "a", encoding="utf-8") as file:
                file.write(f"{cause(error)}\n")
            raise

    def __reduce__(self) -> tuple[Callable[..., "WatchedEngine"], tuple[int, int]]:
        return _arrived, (self._server_pid, self._report)


def _arrived(server_pid: int, report: int) -> WatchedEngine:
    """In the process that was spawned."""
    end_with(server_pid)
    return WatchedEngine(None, server_pid, report)


def _vllms() -> Callable[..., None]:
    from vllm.v1.engine.core import EngineCoreProc

    run: Callable[..., None] = EngineCoreProc.run_engine_core
    return run


@contextmanager
def watched() -> Iterator[Callable[[], str | None]]:
    """Watch each engine that this process starts meanwhile. Yields what returns why the first to fail did so."""
    from vllm.v1.engine.core import EngineCoreProc

    run = EngineCoreProc.run_engine_core
    with tempfile.TemporaryFile("r", encoding="utf-8") as report:
        EngineCoreProc.run_engine_core = WatchedEngine(run, os.getpid(), report.fileno())
        try:
            yield lambda: report.readline().strip() or None
        finally:
            EngineCoreProc.run_engine_core = staticmethod(run)


def end_with(server_pid: int) -> None:
    """Let the kernel kill this process when the server ends, even by SIGKILL; at once where it has ended already.

    To the kernel the server is the thread that started this process, and that one lives as long.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server_pid:
        os._exit(1)


def end_engines() -> None:
    """Kill every engine that this process has started, and what it started in turn."""
    for process in multiprocessing.active_children():
        if process.pid is not None:
            from vllm.utils.system_utils import kill_process_tree  # where there is an engine, it has been imported

            kill_process_tree(process.pid)


def leave(status: int) -> NoReturn:
    """End this process now, whatever its threads are at, and all engines with it."""
    end_engines()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def leave_on_signals() -> None:
    """Until there is something to drain, whoever is told to stop just leaves."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: leave(0))


def cause(error: BaseException) -> str:
    """The error that began it, as one line."""
    while (earlier := error.__cause__ or (None if error.__suppress_context__ else error.__context__)) is not None:
        error = earlier
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
