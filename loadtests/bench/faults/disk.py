"""A disk that is full, and a candidate log whose files are moved or removed while they are open.

A full disk is made by a limit on the size of files (RLIMIT_FSIZE) that the running API process may write: it needs no
root, and can be taken back. A write then fails as it does where no space is left.
"""

import asyncio
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from loadtests.bench.faults.aftermath import Counted, judged_after, note_records, quiet
from loadtests.bench.faults.life import Life, read_log
from loadtests.bench.faults.record import Fault
from loadtests.bench.faults.traffic import Traffic
from loadtests.bench.faults.wire import Reply

_BEFORE_S = 1.0
_DURING_S = 2.0
_RECOVERS_S = 3.0


async def full(life: Life) -> Fault:
    """Answers go on, what is lost is counted as lost, and records are kept again when there is room."""
    fault = Fault("disk", "recording", "full")
    process = psutil.Process(life.process.pid)
    before = await quiet(life)
    _, hard = process.rlimit(psutil.RLIMIT_FSIZE)
    process.rlimit(psutil.RLIMIT_FSIZE, (1, hard))
    began_s = time.monotonic()
    try:
        during = await _answers(life, _DURING_S)
    finally:
        process.rlimit(psutil.RLIMIT_FSIZE, (hard, hard))
    await asyncio.sleep(_RECOVERS_S)
    middle = await quiet(life)
    kept = len(read_log(life.candidates).request_ids)
    later = await _answers(life, _BEFORE_S)
    await quiet(life)
    await asyncio.sleep(_BEFORE_S)
    fault.judged = judged_after([*during, *later], began_s)
    note_records(fault, later, read_log(life.candidates), is_over=False)
    if middle.written - before.written > kept:
        fault.wrong.append(f"{middle.written - before.written} records were counted as written, and {kept} are there")
    return fault


async def moved(life: Life, aside: Path) -> Fault:
    """The files are moved to another folder, as people rotate logs: a record is in one of the two."""
    return await _taken_away(life, "moved", lambda path: Path(shutil.move(path, aside / path.name)), aside)


async def removed(life: Life, aside: Path) -> Fault:
    """The files are removed: what is answered later has its record."""
    return await _taken_away(life, "removed", lambda path: path.unlink(), aside)


async def _taken_away(life: Life, target: str, take: Callable[[Path], object], aside: Path) -> Fault:
    fault = Fault("disk", "recording", target)
    before = await quiet(life)
    await _answers(life, _BEFORE_S)
    await asyncio.sleep(_BEFORE_S)
    for path in await asyncio.to_thread(_files, life.candidates, *([aside] if target == "removed" else [])):
        take(path)
    began_s = time.monotonic()
    replies = await _answers(life, _DURING_S)
    after = await quiet(life)
    await asyncio.sleep(_BEFORE_S)
    fault.judged = judged_after(replies, began_s)
    note_records(fault, replies, read_log(life.candidates, aside), is_over=False)
    if fault.records_lost:
        fault.wrong.append(_counted_as(before, after, fault.records_lost))
    return fault


def _files(*folders: Path) -> list[Path]:
    return [path for folder in folders for path in folder.glob("*.jsonl")]


def _counted_as(before: Counted, after: Counted, lost: int) -> str:
    return f"{after.written - before.written} records were counted as written while {lost} were lost"


async def _answers(life: Life, for_s: float) -> list[Reply]:
    traffic = Traffic(life.url)
    await asyncio.sleep(for_s)
    return await traffic.finish()
