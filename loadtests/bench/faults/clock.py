"""The wall clock jumps, by libfaketime (Debian's package of that name): days on, and back. Without it: not run.

Only the wall clock is moved, as NTP and people move it; the monotonic clock goes on.
"""

import os
import time
from pathlib import Path

from loadtests.bench.faults.life import Life
from loadtests.bench.faults.record import Fault
from loadtests.bench.faults.stages import ALIVE, Stage, reach
from loadtests.bench.faults.survivors import around
from loadtests.bench.faults.traffic import Traffic

JUMPS = {"an hour on": "+3600", "a day back": "-86400"}
_TRUE = "+0"
_USUAL = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
)


def library() -> Path | None:
    """Where LIBFAKETIME names it, or Debian installs it."""
    for path in (os.environ.get("LIBFAKETIME", ""), *_USUAL):
        if path and Path(path).is_file():
            return Path(path)
    return None


def environment(found: Path, offset: Path) -> dict[str, str]:
    """For a server whose wall clock is moved by what the file `offset` holds, in seconds."""
    set_clock(offset, _TRUE)
    return {
        "LD_PRELOAD": str(found),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def set_clock(offset: Path, seconds: str) -> None:
    """Move the wall clock of the server that reads this file."""
    offset.write_text(seconds, encoding="utf-8")


async def jump(life: Life, offset: Path, name: str, stage: Stage) -> Fault:
    """Once, and back again when the server is quiet."""
    fault = Fault("clock", stage, name)

    async def inject(traffic: Traffic) -> tuple[float, float]:
        if not await reach(stage, traffic):
            fault.wrong.append(f"no request came to the stage {stage}")
        began_s = time.monotonic()
        set_clock(offset, JUMPS[name])
        return began_s, began_s

    await around(life, fault, inject)
    set_clock(offset, _TRUE)
    return fault


async def jumps(life: Life, offset: Path) -> list[Fault]:
    """Each at every stage of a request."""
    return [await jump(life, offset, name, stage) for name in JUMPS for stage in ALIVE]
