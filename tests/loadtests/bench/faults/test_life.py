"""Processes of a server, and its candidate log."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from loadtests.bench.faults.life import Life, is_alive, read_log

PARENT = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
PARENT += "print(flush=True); time.sleep(60)"


def life_of(folder: Path) -> Life:
    """A process with a child, no server."""
    process = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    return Life("http://127.0.0.1:9", process, folder / "log", folder)


async def test_a_child_that_outlives_its_server_is_named_and_ended(tmp_path: Path) -> None:
    life = life_of(tmp_path)
    life.look()
    assert len(life.known) == 2
    assert life.signal("api", signal.SIGKILL)
    assert await life.ended(5) == -signal.SIGKILL
    (left,) = await life.left_behind()
    assert left.startswith("python")
    assert await life.left_behind() == []


async def test_what_is_not_there_cannot_be_signalled(tmp_path: Path) -> None:
    life = life_of(tmp_path)
    assert life.pid("generator") is None
    assert not life.signal("reward", signal.SIGKILL)
    assert not await life.shows("generator", 0.1)
    assert await life.ended(0.1) is None
    await life.end()
    assert life.pid("api") is None
    assert not any(is_alive(process) for process in life.known.values())


@pytest.mark.parametrize(
    ("text", "ids", "torn", "open_ends"),
    [
        ('{"request_id":"a"}\n{"request_id":"b"}\n', {"a", "b"}, 0, 0),
        ('{"request_id":"a"}\n{"request_i', {"a"}, 0, 1),
        ('{"request_id":"a"}\n{"requ{"request_id":"c"}\n[1]\n', {"a"}, 2, 0),
        ("", set(), 0, 0),
    ],
)
def test_a_log_is_read_line_by_line(tmp_path: Path, text: str, ids: set[str], torn: int, open_ends: int) -> None:
    (tmp_path / "one.jsonl").write_text(text)
    found = read_log(tmp_path, tmp_path / "nowhere")
    assert (found.request_ids, found.torn, found.open_ends) == (frozenset(ids), torn, open_ends)
