"""Clients that leave take their work with them."""

import asyncio
import random
from typing import Any

import httpx
import psutil
import pytest

from tests.server import Server

pytestmark = pytest.mark.engine
CLIENTS, AT_ONCE = 200, 50


async def leave_early(client: httpx.AsyncClient, number: int, places: asyncio.Semaphore) -> None:
    draw = random.Random(number)
    body: dict[str, Any] = {
        "model": "arithmetic",
        "messages": [{"role": "user", "content": f"What is {number}+1+2?"}],
        "best_of": draw.choice([1, 1, 2, 4, 8]),
        "min_tokens": 100,
        "max_tokens": 300,
        "stream": draw.random() < 0.5,
    }
    if body["best_of"] == 1 and draw.random() < 0.5:
        body["rerank"] = {}
    try:
        async with (
            places,
            asyncio.timeout(draw.uniform(0.001, 0.5)),
            client.stream("POST", "/v1/chat/completions", json=body) as answer,
        ):
            async for _ in answer.aiter_bytes():
                pass
    except TimeoutError:
        pass


async def test_nothing_runs_after_200_clients_left(server: Server) -> None:
    cancelled = server.metric("bestofn_requests_total", outcome="cancelled")
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=server.url, headers=server.headers, limits=limits, timeout=60) as client:
        places = asyncio.Semaphore(AT_ONCE)
        await asyncio.gather(*(leave_early(client, number, places) for number in range(CLIENTS)))
    server.wait_idle()
    assert server.metric("bestofn_requests_total", outcome="cancelled") - cancelled > CLIENTS / 2
    assert server.metric("vllm:generation_tokens_total") == server.metric("bestofn_generated_tokens_total")
    assert server.metric("bestofn_scores_in_flight") == 0
    assert await engines_rest(server)


async def engines_rest(server: Server) -> bool:
    """Neither engine's processes compute anything over a second, once vLLM's workers have stopped spinning."""
    await asyncio.sleep(2)
    cores = [psutil.Process(pid) for pid in server.engine_pids()]
    engines = [process for core in cores for process in (core, *core.children())]
    before = [sum(engine.cpu_times()[:2]) for engine in engines]
    await asyncio.sleep(1)
    after = [sum(engine.cpu_times()[:2]) for engine in engines]
    return len(cores) == 2 and all(end - start < 0.5 for start, end in zip(before, after, strict=True))
