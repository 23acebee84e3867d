"""Signals that end a server: each of its processes killed, or the server told to stop, at each stage. A life for each.

The death of the API process takes its answers away: nobody is left to type one. Such replies are counted as cut off,
and have to be so at once.
"""

import asyncio
import random
import signal
import time

from loadtests.bench.faults.aftermath import judged_after, note_records
from loadtests.bench.faults.life import Life, Target, is_alive, living, read_log, spawned
from loadtests.bench.faults.record import GOAL_S, Fault
from loadtests.bench.faults.stages import Stage, reach
from loadtests.bench.faults.traffic import Traffic
from loadtests.bench.faults.wire import Reply

_WARM_S = 0.5
_DIES_S = 10.0
_DRAINS_S = 20
_ENGINE_SHOWS_S = 60.0
_LATEST_START_S = 12.0
_AFTER_SIGTERM_S = 0.05
_STOPS_S = 0.5  # within which everybody is answered who waits for a server that is told to stop


async def kill(target: Target, stage: Stage, rng: random.Random) -> Fault:
    """SIGKILL for that process."""
    fault = Fault("kill", stage, target)
    return await _end(fault, target, signal.SIGKILL, stage, rng)


async def term(stage: Stage, rng: random.Random) -> Fault:
    """SIGTERM for the server; while it drains, a second one."""
    fault = Fault("term", stage, "api", goal_s=_STOPS_S)
    return await _end(fault, "api", signal.SIGTERM, stage, rng)


async def _end(fault: Fault, target: Target, number: signal.Signals, stage: Stage, rng: random.Random) -> Fault:
    if stage == "starting":
        with spawned() as life:
            try:
                await _end_at_start(fault, life, target, number, rng)
            finally:
                await life.end()
        return fault
    options = ["--shutdown-timeout", str(_DRAINS_S)] if stage == "draining" else []
    async with living(options) as life:
        await _end_in_traffic(fault, life, target, number, stage)
    return fault


async def _end_at_start(fault: Fault, life: Life, target: Target, number: signal.Signals, rng: random.Random) -> None:
    """After a random time, or, for an engine, as soon as it is there."""
    if target == "api":
        await asyncio.sleep(rng.uniform(0.2, _LATEST_START_S))
    if not await life.shows(target, _ENGINE_SHOWS_S) or not life.signal(target, number):
        fault.wrong.append("there was no process to signal")
    await _see_the_end(fault, life, target, number)


async def _end_in_traffic(fault: Fault, life: Life, target: Target, number: signal.Signals, stage: Stage) -> None:
    traffic = Traffic(life.url)
    await asyncio.sleep(_WARM_S)
    if not await reach(stage, traffic):
        fault.wrong.append(f"no request came to the stage {stage}")
    life.look()
    if stage == "draining":
        life.signal("api", signal.SIGTERM)
        await asyncio.sleep(_AFTER_SIGTERM_S)
    at_s = time.monotonic()
    life.signal(target, number)
    ending = asyncio.create_task(_see_the_end(fault, life, target, number))
    replies = await traffic.finish()
    await ending
    _judge(fault, [reply for reply in replies if reply.sent_s < at_s], at_s, target, number)
    forced = target == "api" and number == signal.SIGKILL
    note_records(fault, [] if forced else replies, read_log(life.candidates), is_over=not forced)


def _judge(fault: Fault, replies: list[Reply], at_s: float, target: Target, number: signal.Signals) -> None:
    judged = judged_after(replies, at_s)
    if target == "api" and number == signal.SIGKILL:
        gone = [one for one in judged if one.verdict.kind == "miss"]
        late = [one for one in gone if one.after_s > GOAL_S]
        fault.cut_off = len(gone)
        if late:
            fault.wrong.append(f"{len(late)} connections stayed open for {max(one.after_s for one in late):.1f} s")
        judged = [one for one in judged if one.verdict.kind != "miss"]
    fault.judged = judged


async def _see_the_end(fault: Fault, life: Life, target: Target, number: signal.Signals) -> None:
    """How the server ended, and what is left of it."""
    began_s = time.monotonic()
    status = await life.ended(_DIES_S if fault.stage != "draining" else _DRAINS_S + _DIES_S)
    took_s = time.monotonic() - began_s
    if status is None:
        alive = [process.pid for process in life.known.values() if is_alive(process)]
        fault.wrong.append(f"the server has not ended after {took_s:.0f} s; alive: {alive}")
        await life.end()
        return
    told_to_stop = number == signal.SIGTERM or (fault.stage == "draining" and target != "api")
    wanted = 0 if told_to_stop else -number if target == "api" else 1
    is_early = fault.stage == "starting" and target == "api" and status == -number
    if status != wanted and not is_early:
        fault.wrong.append(f"the exit status is {status}, not {wanted}")
    if took_s > GOAL_S and number == signal.SIGTERM and fault.stage != "draining":
        fault.wrong.append(f"the process ended {took_s:.1f} s after the signal")
    left = await life.left_behind()
    fault.processes_left = len(left)
    if left:
        fault.wrong.append(f"left running: {', '.join(left)}")
