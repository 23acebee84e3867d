"""A fault amid traffic, over the tiny server."""

import asyncio
import random
import signal
import time
from pathlib import Path

from loadtests.bench.faults.record import Fault
from loadtests.bench.faults.survivors import around, disconnect, flood
from loadtests.bench.faults.traffic import CHAT, Traffic, asking
from tests.loadtests.bench.faults.lives import tiny_life


async def test_traffic_around_a_fault_is_judged_from_its_end(tmp_path: Path) -> None:
    async with tiny_life(tmp_path) as life:

        async def inject(_: Traffic) -> tuple[float, float]:
            began_s = time.monotonic()
            life.signal("api", signal.SIGSTOP)
            await asyncio.sleep(0.3)
            life.signal("api", signal.SIGCONT)
            return began_s, time.monotonic()

        fault = await around(life, Fault("stop", "decode", "api"), inject, [(CHAT, False)])
        assert fault.count("answer") == len(fault.judged) > 0
        assert fault.slowest_s < 0.3
        assert fault.wrong == []


async def test_the_one_at_fault_is_owed_nothing(tmp_path: Path) -> None:
    async with tiny_life(tmp_path) as life:
        asked = asking("/nowhere")

        async def inject(traffic: Traffic) -> tuple[float, float]:
            began_s = time.monotonic()
            traffic.add(asked)
            return began_s, began_s

        free = await around(life, Fault("slow", "streaming", "x"), inject, [], at_fault=[asked.request_id])
        owed = await around(life, Fault("slow", "streaming", "x"), inject, [])
        assert ([one.path for one in free.judged], [one.path for one in owed.judged]) == ([], ["/nowhere"])


async def test_clients_that_leave_and_floods_are_answered(tmp_path: Path) -> None:
    async with tiny_life(tmp_path) as life:
        left = await disconnect(life, CHAT, False, random.Random(0))
        assert left.count("answer") > 0
        assert left.count("miss") == 0
        flooded = await flood(life, 16)
        assert flooded.count("answer") >= 16
        assert flooded.goal_s is None
