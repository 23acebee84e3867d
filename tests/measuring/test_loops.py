"""Closed and open loops: who waits for whom, and what is counted."""

import asyncio
import statistics
import time
from itertools import pairwise
from typing import Any

import pytest

from measuring.answers import Answer
from measuring.client import connect, send
from measuring.loops import Load, arrivals, drive, offer, rotated
from measuring.server_process import ServerFailed
from tests.server import API_KEY, Server
from tests.training.openai_endpoint import completion, refusal, serving

QUESTION: dict[str, Any] = {"messages": [{"role": "user", "content": "What is 35+21+81?"}], "max_tokens": 64}


async def test_a_server_that_does_not_answer_is_an_error_of_each_request() -> None:
    async with connect("http://127.0.0.1:1", clients=2) as client:
        load = await drive(client, [QUESTION] * 3, 2)
    assert [answer.index for answer in load.answers] == [0, 1, 2]
    assert all(answer.status == 0 and "ConnectError" in answer.error for answer in load.answers)
    assert load.succeeded == ()
    assert load.requests_per_second == 0


async def test_nothing_is_sent_twice_unless_it_is_asked_for() -> None:
    statuses = iter([503, 503, 200, 503])
    with serving(lambda body: (status := next(statuses), completion("x") if status == 200 else refusal("no"))) as there:
        async with connect(there.url, clients=1) as client:
            once = await drive(client, [QUESTION], 1)
            again = await drive(client, [QUESTION], 1, tries=3)
    assert [answer.error for answer in once.answers] == ["HTTP 503: no"]
    assert [answer.text for answer in again.answers] == ["x"]
    assert len(there.requests) == 3


async def test_what_cannot_succeed_is_not_sent_again_and_the_last_failure_counts() -> None:
    statuses = iter([400, 503, 500])
    with serving(lambda body: (next(statuses), refusal("no"))) as there:
        async with connect(there.url, clients=1) as client:
            load = await drive(client, [QUESTION] * 2, 1, tries=2)
    assert [answer.status for answer in load.answers] == [400, 500]


def test_a_load_is_whole_where_every_request_succeeded() -> None:
    done, failed = Answer(0, 200, 0.0, 2.0), Answer(1, 500, 1.0, 3.0, error="HTTP 500: no")
    load = Load((done, failed))
    assert (load.wall_s, load.requests_per_second, load.latencies_s) == (4.0, 0.25, (2.0,))
    assert Load((done,)).whole("sums") == Load((done,))
    with pytest.raises(ServerFailed, match="sums: 1 of 2 requests failed, the first: HTTP 500: no"):
        load.whole("sums")


def test_arrivals_are_a_poisson_process_that_a_seed_repeats() -> None:
    times = list(arrivals(50, 200, seed=1))
    gaps = [after - before for before, after in pairwise(times)]
    assert times == list(arrivals(50, 200, seed=1)) != list(arrivals(50, 200, seed=2))
    assert times == sorted(times)
    assert 0 < times[0] < times[-1] < 200
    assert statistics.mean(gaps) == pytest.approx(1 / 50, rel=0.05)
    assert statistics.stdev(gaps) == pytest.approx(1 / 50, rel=0.05), "as much as their mean: exponential"


async def test_a_client_that_lags_hides_nothing() -> None:
    with serving(lambda body: (200, completion("x"))) as there:
        async with connect(there.url, clients=1) as client:
            on_time = await send(client, QUESTION)
            late = await send(client, QUESTION, began_s=time.perf_counter() - 60, due_s=1.0)
    assert 0 < on_time.latency_s < 30
    assert late.due_s == pytest.approx(1.0)
    assert late.latency_s > 59


async def test_no_request_of_an_open_loop_waits_for_another() -> None:
    """The server answers nothing before it has all three."""
    connections: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        connections.append(writer)
        if len(connections) == 3:
            for other in connections:
                body = b'{"usage": {"completion_tokens": 1}}'
                head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
                other.write(head.encode() + body)
                await other.drain()
                other.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with connect(url, clients=3) as client, asyncio.timeout(10):
            load = await offer(client, [{}] * 3, [0.0, 0.01, 0.02])
    assert [answer.index for answer in load.answers] == [0, 1, 2]
    assert [answer.due_s for answer in load.answers] == pytest.approx([0.0, 0.01, 0.02])
    assert all(answer.ok and answer.latency_s > 0 for answer in load.answers)


def test_each_of_a_round_is_first_once() -> None:
    names = ["a", "b", "c"]
    assert {rotated(names, number)[0] for number in range(3)} == set(names)
    assert all(sorted(rotated(names, number)) == names for number in range(4))


@pytest.mark.engine
async def test_answers_carry_what_they_cost(server: Server) -> None:
    bodies = [QUESTION | {"best_of": best_of, "seed": best_of} for best_of in (1, 2, 4)]
    seen: list[Answer] = []
    async with connect(server.url + "/v1/", api_key=API_KEY, clients=2) as client:
        load = await drive(client, bodies, 2, answered=seen.append)
    assert sorted(answer.index for answer in seen) == [0, 1, 2]
    assert load.succeeded == load.answers
    for answer, best_of in zip(load.answers, (1, 2, 4), strict=True):
        assert answer.rerank["best_of"] == best_of
        assert answer.generated_tokens == sum(c["completion_tokens"] for c in answer.rerank["candidates"])
        assert 0 < answer.returned_tokens <= answer.generated_tokens
        assert 0 < (answer.first_byte_s or 0) <= answer.latency_s <= load.wall_s


@pytest.mark.engine
async def test_what_the_server_refuses_is_told_apart(server: Server) -> None:
    full = QUESTION | {"n": 64}
    endless = full | {"min_tokens": 1000, "max_tokens": 1500}
    async with connect(server.url, api_key=API_KEY, clients=30) as client:
        holding = [asyncio.create_task(send(client, endless)) for _ in range(4)]
        async with asyncio.timeout(30):
            while await asyncio.to_thread(server.metric, "bestofn_candidates_in_flight") < 256:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        load = await drive(client, [full] * 20, 20)
        for task in holding:
            task.cancel()
        await asyncio.gather(*holding, return_exceptions=True)
        wrong = await send(client, QUESTION | {"best_of": 0})
    refused = [answer for answer in load.answers if answer.refused]
    assert len(load.succeeded) + len(refused) == 20
    assert refused, "no place is free, and eight may wait"
    assert all(1 <= (answer.retry_after_s or 0) <= 60 for answer in refused)
    assert wrong.status == 400
    assert "best_of" in wrong.error
    server.wait_idle()
