"""`make faults`: what becomes of clients when something goes wrong with a real server.

    make faults                                                  # everything, about half an hour on two cores
    make faults ARGS="--kinds disconnect,flood --rounds 3"       # some kinds, more often
    make faults ARGS="--kinds kill --only generator:decode"      # one fault

Kinds: kill (SIGKILL for each process at each stage), term (SIGTERM at each stage), stop (SIGSTOP, and SIGCONT 3 s
later), disconnect, slow (readers), flood, disk (full, moved, removed), clock (needs libfaketime), malformed (bodies
that schemathesis makes from the published schema). kill and term have a server for each fault, disk and clock one each,
and the others share one. The status is 1 where a fault did not end as it should.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from rich.console import Console

from loadtests.bench.faults import clock, disk, kills, malformed, survivors
from loadtests.bench.faults.life import TARGETS, Target, living
from loadtests.bench.faults.record import Fault, table, write
from loadtests.bench.faults.stages import ALIVE, STAGES, Stage
from loadtests.bench.faults.traffic import SHAPES
from measuring.server_process import ServerFailed

KINDS = ("stop", "disconnect", "slow", "flood", "malformed", "disk", "clock", "kill", "term")
_SHARED = ("stop", "disconnect", "slow", "flood", "malformed")


async def inject(arguments: argparse.Namespace) -> AsyncIterator[Fault]:
    """Every fault that was asked for, in turn, with what came of it."""
    rng = random.Random(arguments.seed)
    kinds = arguments.kinds
    if set(kinds) & set(_SHARED):
        async for fault in _shared(kinds, arguments, rng):
            yield fault
    for _ in range(arguments.rounds):
        if "disk" in kinds:
            async for fault in _disk():
                yield fault
        if "clock" in kinds:
            async for fault in _clock():
                yield fault
        for target in TARGETS if "kill" in kinds else ():
            for stage in _stages(target):
                if _is_wanted(arguments.only, target, stage):
                    yield await kills.kill(target, stage, rng)
        for stage in _stages("api") if "term" in kinds else ():
            if _is_wanted(arguments.only, "api", stage):
                yield await kills.term(stage, rng)


async def _shared(kinds: Sequence[str], arguments: argparse.Namespace, rng: random.Random) -> AsyncIterator[Fault]:
    async with living() as life:
        for _ in range(arguments.rounds):
            for target in TARGETS if "stop" in kinds else ():
                for stage in ALIVE:
                    if _is_wanted(arguments.only, target, stage):
                        yield await survivors.stop(life, target, stage)
            for path, streamed in SHAPES * _DISCONNECTS if "disconnect" in kinds else ():
                yield await survivors.disconnect(life, path, streamed, rng)
            for best_of in _SLOW_READERS if "slow" in kinds else ():
                yield await survivors.slow(life, best_of)
            for best_of in _FLOODS if "flood" in kinds else ():
                yield await survivors.flood(life, best_of)
        if "malformed" in kinds:
            for fault in await malformed.fuzz(life, arguments.examples, arguments.seed):
                yield fault


_DISCONNECTS = 16
_SLOW_READERS = (1, 16, 64)
_FLOODS = (1, 4, 16, 64)
_JUMPS = 4
_STARTS = 4


async def _disk() -> AsyncIterator[Fault]:
    with tempfile.TemporaryDirectory() as folder:
        async with living() as life:
            yield await disk.full(life)
            yield await disk.moved(life, Path(folder))
            yield await disk.removed(life, Path(folder))


async def _clock() -> AsyncIterator[Fault]:
    found = clock.library()
    if found is None:
        print("clock: not run, there is no libfaketime (apt-get install libfaketime, or LIBFAKETIME=FILE)")
        return
    with tempfile.TemporaryDirectory() as folder:
        offset = Path(folder) / "offset"
        async with living(environment=clock.environment(found, offset)) as life:
            for name in clock.JUMPS:
                for _ in range(_JUMPS):
                    yield await clock.jump(life, offset, name)


def _stages(target: Target) -> list[Stage]:
    """Each once, but the start of the server itself, which has many moments."""
    starts: list[Stage] = ["starting"] * (_STARTS - 1 if target == "api" else 0)
    return [*starts, *STAGES]


def _is_wanted(only: str, target: str, stage: str) -> bool:
    return not only or only in (target, stage, f"{target}:{stage}")


def read(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments. Ends with status 2 for a kind that there is not."""
    parser = argparse.ArgumentParser(prog="make faults", description="Inject faults into a real server.")
    parser.add_argument("--kinds", default=",".join(KINDS), help=f"separated by commas: {', '.join(KINDS)}")
    parser.add_argument("--rounds", type=int, default=1, help="how often each of them; malformed: once")
    parser.add_argument("--only", default="", help="of kill, term and stop: a target, a stage, or TARGET:STAGE")
    parser.add_argument("--examples", type=int, default=10_000, help="malformed: requests, at least")
    parser.add_argument("--seed", type=int, default=0, help="of random moments and of malformed bodies")
    parser.add_argument("--output", type=Path, default=Path("runs/faults/faults.json"), help="JSON of everything")
    arguments = parser.parse_args(argv)
    arguments.kinds = tuple(kind.strip() for kind in arguments.kinds.split(","))
    if unknown := [kind for kind in arguments.kinds if kind not in KINDS]:
        parser.error(f"--kinds: there is no {unknown[0]!r}; there are: {', '.join(KINDS)}")
    return arguments


async def main(argv: Sequence[str]) -> int:
    """Inject, show each fault as it is over, write everything, and give the exit status."""
    arguments = read(argv)
    console = Console(width=150)
    faults: list[Fault] = []
    began_s = time.monotonic()
    try:
        async for fault in inject(arguments):
            faults.append(fault)
            for line in fault.faults():
                console.print(f"[{time.monotonic() - began_s:.0f} s] {line}", markup=False, soft_wrap=True)
    except ServerFailed as error:
        console.print(f"a server did not start: {error}", markup=False)
        faults.append(Fault("start", "starting", "api", wrong=["a server did not start"]))
    console.print(table(faults))
    write(faults, malformed.sent(faults), arguments.output)
    console.print(f"wrote {arguments.output}, after {time.monotonic() - began_s:.0f} s")
    return 0 if faults and all(fault.is_met for fault in faults) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
