"""The wall clock jumps, by libfaketime (Debian's package of that name): days on, and back. Without it: not run.

Only the wall clock is moved, as NTP and people move it; the monotonic clock goes on.
"""

import asyncio
import os
import time
from pathlib import Path

from loadtests.bench.faults.life import Life
from loadtests.bench.faults.record import Fault
from loadtests.bench.faults.survivors import around
from loadtests.bench.faults.traffic import Traffic

JUMPS = {"an hour on": "+3600", "a day back": "-86400"}
_TRUE = "+0"
_SEEN_S = 2.0
_GOAL_S = 10.0  # under libfaketime all is slower, and a wait that the jump lengthens takes an hour
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
        "FAKETIME_CACHE_DURATION": "1",  # seconds between two looks at the file; without it every clock call is slow
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def set_clock(offset: Path, seconds: str) -> None:
    """Move the wall clock of the server that reads this file."""
    offset.write_text(seconds, encoding="utf-8")


async def jump(life: Life, offset: Path, name: str) -> Fault:
    """Amid traffic, and back again when the server is quiet."""
    fault = Fault("clock", "any", name, goal_s=_GOAL_S)

    async def inject(_: Traffic) -> tuple[float, float]:
        began_s = time.monotonic()
        set_clock(offset, JUMPS[name])
        await asyncio.sleep(_SEEN_S)
        return began_s, began_s

    await around(life, fault, inject)
    set_clock(offset, _TRUE)
    await asyncio.sleep(_SEEN_S)
    return fault
