"""Processes that end with the one that started them, and say why they failed. No engine runs in them."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import psutil
import pytest
from vllm.v1.engine.core import EngineCoreProc
from vllm.v1.executor.multiproc_executor import WorkerProc

from service.vllm.life import engine_process
from service.vllm.life.engine_process import ENGINE, WatchedProcess, cause, end_engines, watched

# A server whose engine sleeps, as a process of its own.
SERVER = """
import multiprocessing, os, sys, threading, time
from service.vllm.life.engine_process import ENGINE, WatchedProcess, leave_on_signals
from tests.service.vllm.life.test_engine_process import sleep

if __name__ == "__main__":
    leave_on_signals()
    engine = multiprocessing.get_context("fork").Process(target=WatchedProcess(ENGINE, sleep, os.getpid(), os.devnull))
    threading.Thread(target=lambda: (engine.start(), time.sleep(60)), daemon=True).start()
    while not engine.pid:
        time.sleep(0.01)
    print(engine.pid, flush=True)
    time.sleep(60)
"""


def sleep() -> None:
    time.sleep(60)


def fail() -> None:
    raise RuntimeError("see above") from ValueError("the weights\n do not fit")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGKILL, -9)])
def test_an_engine_ends_with_its_server_however_that_ends(tmp_path: Path, number: int, status: int) -> None:
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    root = Path(__file__).parents[4]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, env=environment, cwd=root) as server:
        assert server.stdout is not None
        engine = psutil.Process(int(server.stdout.readline()))
        server.send_signal(number)
        assert server.wait(20) == status
    _, alive = psutil.wait_procs([engine], timeout=10)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def test_an_engine_that_comes_too_late_ends_at_once() -> None:
    context = multiprocessing.get_context("fork")
    process = context.Process(target=WatchedProcess(ENGINE, sleep, os.getppid(), os.devnull))
    process.start()
    process.join(20)
    assert process.exitcode == 1


def test_why_an_engine_failed_is_reported_and_vllms_own_start_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    vllms = EngineCoreProc.run_engine_core
    monkeypatch.setattr(EngineCoreProc, "run_engine_core", staticmethod(fail))
    with watched() as first_report:
        assert first_report() is None
        process = multiprocessing.get_context("fork").Process(target=EngineCoreProc.run_engine_core)
        process.start()
        process.join(20)
        assert first_report() == "ValueError: the weights do not fit"
    assert EngineCoreProc.run_engine_core is fail
    monkeypatch.undo()
    assert EngineCoreProc.run_engine_core is vllms


def test_all_engines_can_be_ended() -> None:
    processes = [multiprocessing.get_context("fork").Process(target=sleep) for _ in range(2)]
    for process in processes:
        process.start()
    end_engines()
    for process in processes:
        process.join(10)
    assert [process.exitcode for process in processes] == [-signal.SIGKILL] * 2


def test_a_watched_process_goes_to_its_process_without_what_it_runs() -> None:
    arrive, what = WatchedProcess(ENGINE, sleep, 4, "report").__reduce__()
    assert (arrive, what) == (engine_process._arrived, (ENGINE, 4, "report"))


def engine_with_worker(pids: "Queue[int]") -> None:
    """An engine whose worker hangs while it starts, as one does for minutes that loads a large model."""
    worker = multiprocessing.get_context("fork").Process(target=WorkerProc.worker_main)
    worker.start()
    assert worker.pid is not None
    pids.put(worker.pid)
    time.sleep(60)


def test_a_worker_that_is_still_starting_ends_with_its_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EngineCoreProc, "run_engine_core", staticmethod(engine_with_worker))
    monkeypatch.setattr(WorkerProc, "worker_main", staticmethod(sleep))
    context = multiprocessing.get_context("fork")
    pids = context.Queue()
    with watched():
        engine = context.Process(target=EngineCoreProc.run_engine_core, args=(pids,))
        engine.start()
    worker = psutil.Process(pids.get(timeout=20))
    engine.kill()
    engine.join(10)
    _, alive = psutil.wait_procs([worker], timeout=10)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def cannot_load(*_: Any) -> None:
    raise ValueError("no such architecture")


def log_and_end() -> None:
    """As vLLM's own: what goes wrong in a worker ends there."""
    with suppress(ValueError):
        WorkerProc()


def engine_of_failed_worker() -> None:
    worker = multiprocessing.get_context("fork").Process(target=WorkerProc.worker_main)
    worker.start()
    worker.join(20)
    raise RuntimeError("WorkerProc initialization failed. See stack trace for root cause.")


def test_why_a_worker_failed_is_reported_before_what_its_engine_saw_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EngineCoreProc, "run_engine_core", staticmethod(engine_of_failed_worker))
    monkeypatch.setattr(WorkerProc, "worker_main", staticmethod(log_and_end))
    monkeypatch.setattr(WorkerProc, "__init__", cannot_load)
    with watched() as first_report:
        engine = multiprocessing.get_context("fork").Process(target=EngineCoreProc.run_engine_core)
        engine.start()
        engine.join(20)
        assert first_report() == "ValueError: no such architecture"


def test_the_cause_is_what_came_first() -> None:
    with pytest.raises(RuntimeError) as caught:
        fail()
    assert cause(caught.value) == "ValueError: the weights do not fit"
    assert cause(KeyError()) == "KeyError"


def test_a_lookup_that_failed_is_no_cause_where_more_was_made_of_it() -> None:
    known: dict[str, str] = {}

    def look_up() -> None:
        try:
            known["LlamaForNothing"]
        except KeyError:
            raise ValueError("there is no architecture LlamaForNothing")  # noqa: B904

    with pytest.raises(ValueError, match="no architecture") as caught:
        look_up()
    assert cause(caught.value) == "ValueError: there is no architecture LlamaForNothing"
    assert cause(KeyError("alone")) == "KeyError: 'alone'"
