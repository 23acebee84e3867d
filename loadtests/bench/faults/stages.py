"""When a request is at a stage: a request of its own reports it, by the progress in its stream."""

import asyncio
from contextlib import suppress
from typing import Literal

from loadtests.bench.faults.life import MAX_CANDIDATES
from loadtests.bench.faults.traffic import CHAT, Traffic, asking
from loadtests.bench.faults.wire import Asked, Manners

Stage = Literal["starting", "waiting", "prefill", "decode", "scoring", "streaming", "recording", "draining"]
STAGES: tuple[Stage, ...] = (
    *("starting", "waiting", "prefill", "decode", "scoring", "streaming", "recording", "draining"),
)
ALIVE: tuple[Stage, ...] = ("waiting", "prefill", "decode", "scoring", "streaming", "recording")

_GIVE_UP_S = 20.0
_PREFILL_S = 0.03
_WAITING_S = 0.3
# What a stream holds once its request is at the stage.
_SIGNS = {
    "decode": b'"state":"running"',
    "draining": b'"state":"running"',
    "scoring": b'"state":"finished"',
    "streaming": b"data:",
    "recording": b"data: [DONE]",
}


def sentinel(stage: Stage) -> Asked:
    """The request that shows when the stage is reached."""
    if stage == "prefill":
        return asking(CHAT, True, question="What is " + "1234+" * 300 + "1?", best_of=16, tokens=40)
    if stage == "streaming":
        return asking(CHAT, True, best_of=1, tokens=400, ignore_eos=True)
    best_of = 32 if stage == "scoring" else 16
    return asking(CHAT, True, best_of=best_of, tokens=100, ignore_eos=True, rerank={"progress": True})


async def reach(stage: Stage, traffic: Traffic) -> bool:
    """Whether a request has come to this stage, and is there about now. Not for the stage `starting`."""
    if stage == "waiting":
        return await _wait_behind(traffic)
    reached = asyncio.Event()
    seen = b""

    def look(data: bytes) -> None:
        nonlocal seen
        seen = seen[-64:] + data
        if _SIGNS[stage] in seen:
            reached.set()

    if stage == "prefill":
        traffic.add(sentinel(stage))
        await asyncio.sleep(_PREFILL_S)
        return True
    asked = traffic.add(sentinel(stage), Manners(on_data=look))
    asked.add_done_callback(lambda _: reached.set())
    with suppress(TimeoutError):
        async with asyncio.timeout(_GIVE_UP_S):
            await reached.wait()
    return _SIGNS[stage] in seen


async def _wait_behind(traffic: Traffic) -> bool:
    """Fills all places, and asks for more."""
    for _ in range(2):
        traffic.add(asking(CHAT, best_of=MAX_CANDIDATES, tokens=60, ignore_eos=True))
    await asyncio.sleep(_WAITING_S)
    return True
