"""Faults that a server outlives: processes that stop for a while, clients that leave or do not read, floods."""

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

from loadtests.bench.faults.aftermath import judged_after, quiet, settle
from loadtests.bench.faults.life import MAX_CANDIDATES, Life, Target
from loadtests.bench.faults.record import Fault
from loadtests.bench.faults.stages import Stage, reach
from loadtests.bench.faults.traffic import CHAT, COMPLETIONS, SHAPES, Traffic, asking
from loadtests.bench.faults.wire import Manners
from measuring.client import connect
from measuring.scrape import scrape

_WARM_S = 0.2
_STOPPED_S = 3.0
_AFTER_S = 0.1
_LONGEST_STAY_S = 0.4
_FLOOD = 4
_SLOW = Manners(read_bytes=256, pause_s=0.5, patience_s=10)
_LAST_LOOK_S = 0.5

Inject = Callable[[Traffic], Awaitable[tuple[float, float]]]
"""Returns when the fault began and when it was over."""


async def around(
    life: Life,
    fault: Fault,
    inject: Inject,
    shapes: Sequence[tuple[str, bool]] = SHAPES,
    *,
    at_fault: Collection[str] = (),
) -> Fault:
    """A fault amid traffic: every reply that ends after its beginning is judged, and the server looked at when quiet.

    at_fault: ids of requests whose own client is the fault; they are owed nothing.
    """
    before = await quiet(life)
    traffic = Traffic(life.url, shapes)
    await asyncio.sleep(_WARM_S)
    began_s, over_s = await inject(traffic)
    await asyncio.sleep(_AFTER_S)
    replies = await traffic.finish()
    owed = [reply for reply in replies if reply.asked.request_id not in at_fault]
    fault.judged = judged_after(owed, began_s, until_s=over_s)
    await settle(life, before, replies, fault)
    return fault


async def stop(life: Life, target: Target, stage: Stage) -> Fault:
    """SIGSTOP for a process, and SIGCONT a while later."""
    fault = Fault("stop", stage, target)

    async def inject(traffic: Traffic) -> tuple[float, float]:
        if not await reach(stage, traffic):
            fault.wrong.append(f"no request came to the stage {stage}")
        began_s = time.monotonic()
        life.signal(target, signal.SIGSTOP)
        await asyncio.sleep(_STOPPED_S)
        life.signal(target, signal.SIGCONT)
        return began_s, time.monotonic()

    return await around(life, fault, inject)


async def disconnect(life: Life, path: str, streamed: bool, rng: random.Random) -> Fault:
    """A client that leaves at a random moment, beside others that stay."""
    fault = Fault("disconnect", "random", f"{path}{' streamed' if streamed else ''}")

    async def inject(traffic: Traffic) -> tuple[float, float]:
        began_s = time.monotonic()
        manners = Manners(leave_after_s=rng.uniform(0.0, _LONGEST_STAY_S))
        await traffic.add(asking(path, streamed, best_of=rng.choice((1, 4, 8, 16))), manners)
        return began_s, time.monotonic()

    return await around(life, fault, inject, shapes=[(CHAT, False), (COMPLETIONS, True)])


async def slow(life: Life, best_of: int) -> Fault:
    """A client that reads 512 bytes a second, and clients that come after it and read.

    Its stream holds every candidate with log-probabilities, since the kernel takes up to 4 MB from a server.
    """
    fault = Fault("slow", "streaming", f"best_of {best_of}", goal_s=None)
    more: dict[str, Any] = {"n": best_of, "logprobs": True, "top_logprobs": 20}
    asked = asking(CHAT, True, best_of=best_of, tokens=60, ignore_eos=True, **more)
    held = ""

    async def inject(traffic: Traffic) -> tuple[float, float]:
        nonlocal held
        began_s = time.monotonic()
        single = traffic.add(asked, _SLOW)
        await asyncio.sleep(_WARM_S)
        traffic.start([(CHAT, False), (COMPLETIONS, True)])
        await asyncio.sleep(_SLOW.patience_s - 2 * _LAST_LOOK_S)
        held = await _held(life)
        if (reply := await single).status != 200:
            fault.wrong.append(f"the slow client was not served: {reply.status} {reply.body[:200]!r}")
        return began_s, began_s

    await around(life, fault, inject, shapes=[], at_fault=[asked.request_id])
    if not fault.count("answer"):
        fault.wrong.append(f"a client that does not read kept all others from being answered: {held} at the end")
    return fault


async def _held(life: Life) -> str:
    async with connect(life.url, clients=1) as client:
        seen = await scrape(client)
    places, running = seen.total("bestofn_candidates_in_flight"), seen.total("vllm:num_requests_running")
    return f"{places:.0f} places taken while {running:.0f} sequences ran"


async def flood(life: Life, best_of: int) -> Fault:
    """Four times as many candidates as there are places, all at once."""
    fault = Fault("flood", "waiting", f"best_of {best_of}", goal_s=None)

    async def inject(traffic: Traffic) -> tuple[float, float]:
        began_s = time.monotonic()
        for number in range(_FLOOD * MAX_CANDIDATES // best_of):
            path, streamed = SHAPES[number % len(SHAPES)]
            traffic.add(asking(path, streamed, best_of=best_of))
        return began_s, time.monotonic()

    return await around(life, fault, inject)
