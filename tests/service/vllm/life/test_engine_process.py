"""Processes that end with the one that started them, and say why they failed. No engine runs in them."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from vllm.v1.engine.core import EngineCoreProc

from service.vllm.life import engine_process
from service.vllm.life.engine_process import WatchedEngine, cause, end_engines, watched

# A server whose engine sleeps, as a process of its own.
SERVER = """
import multiprocessing, os, sys, threading, time
from service.vllm.life.engine_process import WatchedEngine, leave_on_signals
from tests.service.vllm.life.test_engine_process import sleep

if __name__ == "__main__":
    leave_on_signals()
    engine = multiprocessing.get_context("fork").Process(target=WatchedEngine(sleep, os.getpid(), 0))
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
    process = context.Process(target=WatchedEngine(sleep, os.getppid(), 0))
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


def test_a_watched_engine_goes_to_its_process_as_two_numbers() -> None:
    arrive, numbers = WatchedEngine(sleep, 4, 7).__reduce__()
    assert (arrive, numbers) == (engine_process._arrived, (4, 7))


def test_the_cause_is_what_came_first() -> None:
    with pytest.raises(RuntimeError) as caught:
        fail()
    assert cause(caught.value) == "ValueError: the weights do not fit"
    assert cause(KeyError()) == "KeyError"
