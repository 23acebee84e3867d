"""Requests at their own times, whatever becomes of those before."""

import asyncio
import statistics
from itertools import pairwise

import pytest

from loadtests.bench.open_loop import Timed, arrivals, offer
from measuring.client import Answer, connect


def test_arrivals_are_a_poisson_process_that_a_seed_repeats() -> None:
    times = list(arrivals(50, 200, seed=1))
    gaps = [after - before for before, after in pairwise(times)]
    assert times == list(arrivals(50, 200, seed=1)) != list(arrivals(50, 200, seed=2))
    assert times == sorted(times)
    assert 0 < times[0] < times[-1] < 200
    assert statistics.mean(gaps) == pytest.approx(1 / 50, rel=0.05)
    assert statistics.stdev(gaps) == pytest.approx(1 / 50, rel=0.05), "as much as their mean: exponential"


def test_a_client_that_lags_hides_nothing() -> None:
    late = Timed(due_s=1.0, answer=Answer(0, 200, started_s=1.5, latency_s=0.25))
    assert late.latency_s == 0.75


async def test_no_request_waits_for_another() -> None:
    """The server answers nothing before it has all three."""
    connections: list[asyncio.StreamWriter] = []

    async def gather(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        connections.append(writer)
        if len(connections) == 3:
            for other in connections:
                body = b'{"usage": {"completion_tokens": 1}}'
                head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
                other.write(head.encode() + body)
                await other.drain()
                other.close()

    async with await asyncio.start_server(gather, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with connect(url, clients=3) as client, asyncio.timeout(10):
            seen = await offer(client, [{}] * 3, [0.0, 0.01, 0.02])
    assert [timed.answer.index for timed in seen] == [0, 1, 2]
    assert all(timed.answer.ok for timed in seen)
    assert all(timed.latency_s > 0 for timed in seen)
