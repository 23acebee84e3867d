"""The engines' processes: they never outlive the server, and leave word of why they could not start.

vLLM starts each by a function of its own, in whose place `watched` puts this. It has a pipe by which workers end with
their engine, but they read it only when their model is loaded, so workers are watched as engines are. vLLM is imported
where it is needed, since importing it takes seconds in which a process that was just spawned is watched already.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NoReturn

_PR_SET_PDEATHSIG = 1
_LOOKUPS = (LookupError, AttributeError, StopIteration)


@dataclass(frozen=True)
class Start:
    """What a process of vLLM's runs: a function of a class. initialises: where the class catches its own failure."""

    module: str
    owner: str
    function: str
    initialises: bool = False

    def cls(self) -> type[Any]:
        """Imports vLLM."""
        cls: type[Any] = getattr(import_module(self.module), self.owner)
        return cls


ENGINE = Start("vllm.v1.engine.core", "EngineCoreProc", "run_engine_core")
WORKER = Start("vllm.v1.executor.multiproc_executor", "WorkerProc", "worker_main", initialises=True)
COORDINATOR = Start("vllm.v1.engine.coordinator", "DPCoordinatorProc", "run_coordinator")  # of data parallel engines


class WatchedProcess:
    """What such a process runs instead. run: vLLM's own; None where the process was spawned, and has to look for it.

    parent_pid: of the process that it may not outlive. report: path of a file for what goes wrong.
    """

    def __init__(self, start: Start, run: Callable[..., None] | None, parent_pid: int, report: str) -> None:
        self._start = start
        self._run = run
        self._parent_pid = parent_pid
        self._report = report

    def __call__(self, *args: Any, **options: Any) -> None:
        end_with(self._parent_pid)
        run = self._run or getattr(self._start.cls(), self._start.function)
        try:
            with ExitStack() as stack:
                if self._start == ENGINE:
                    stack.enter_context(_watching(WORKER, self._report))
                if self._start.initialises:
                    self._report_initialisation()
                run(*args, **options)
        except Exception as error:
            _write(self._report, error)
            raise

    def _report_initialisation(self) -> None:
        """What went wrong in a worker is only logged there; its engine says that something did."""
        cls, report = self._start.cls(), self._report
        initialise = cls.__init__

        def reporting(self: Any, *args: Any, **options: Any) -> None:
            try:
                initialise(self, *args, **options)
            except Exception as error:
                _write(report, error)
                raise

        cls.__init__ = reporting

    def __reduce__(self) -> tuple[Callable[..., "WatchedProcess"], tuple[Start, int, str]]:
        return _arrived, (self._start, self._parent_pid, self._report)


def _arrived(start: Start, parent_pid: int, report: str) -> WatchedProcess:
    """In the process that was spawned."""
    end_with(parent_pid)
    return WatchedProcess(start, None, parent_pid, report)


def _write(report: str, error: Exception) -> None:
    with suppress(OSError), open(report, "a", encoding="utf-8") as file:
        file.write(f"{cause(error)}\n")


@contextmanager
def watched() -> Iterator[Callable[[], str | None]]:
    """Watch each engine that this process starts meanwhile. Yields what returns why the first to fail did so."""
    with tempfile.TemporaryFile("r", encoding="utf-8") as file:
        report = f"/proc/{os.getpid()}/fd/{file.fileno()}"
        with _watching(ENGINE, report), _watching(COORDINATOR, report):
            yield lambda: file.readline().strip() or None


@contextmanager
def _watching(start: Start, report: str) -> Iterator[None]:
    cls = start.cls()
    run = getattr(cls, start.function)
    setattr(cls, start.function, WatchedProcess(start, run, os.getpid(), report))
    try:
        yield
    finally:
        setattr(cls, start.function, staticmethod(run))


def end_with(parent_pid: int) -> None:
    """Let the kernel kill this process when its parent ends, even by SIGKILL; at once where it has ended already.

    To the kernel the parent is the thread that started this process, and that one lives as long.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
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
    """The error that began it, as one line.

    A lookup that failed is passed over where what was raised on it says more.
    """
    chain = list(_chain(error))
    telling = [one for one in chain if str(one).strip() and not isinstance(one, _LOOKUPS)]
    first = (telling or chain)[-1]
    text = " ".join(str(first).split())
    return f"{type(first).__name__}: {text}" if text else type(first).__name__


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and each that led to it, the latest first."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
