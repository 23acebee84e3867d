import asyncio

import pytest

from measuring.answers import CHAT
from measuring.client import Answer, connect, drive, rotated, send
from tests.server import API_KEY, Server

QUESTION = {"messages": [{"role": "user", "content": "What is 35+21+81?"}], "max_tokens": 64}


async def test_a_server_that_does_not_answer_is_an_error_of_each_request() -> None:
    async with connect("http://127.0.0.1:1", clients=2) as client:
        load = await drive(client, [QUESTION] * 3, 2)
    assert [answer.index for answer in load.answers] == [0, 1, 2]
    assert all(answer.status == 0 and "ConnectError" in answer.error for answer in load.answers)
    assert load.succeeded == ()
    assert load.requests_per_second == 0


@pytest.mark.parametrize(
    ("events", "error"),
    [
        (['{"id": "1"}', '{"usage": {"completion_tokens": 3}}', "[DONE]"], ""),
        (['{"id": "1"}', '{"usage": {"completion_tokens": 3}}'], "HTTP 200: the stream ended without [DONE]"),
        (['{"error": {"message": "out of memory"}}'], "HTTP 200: out of memory"),
    ],
)
async def test_a_stream_that_is_cut_off_is_no_answer(events: list[str], error: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
        writer.write((head + "".join(f"data: {event}\n\n" for event in events)).encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with connect(f"http://127.0.0.1:{port}", clients=1) as client:
            heard = await send(client, QUESTION | {"stream": True})
    assert (heard.status, heard.error) == (200, error)
    assert heard.ok == (not error)
    assert heard.first_byte_s is not None


@pytest.mark.engine
async def test_answers_carry_what_they_cost(server: Server) -> None:
    bodies = [QUESTION | {"best_of": best_of, "seed": best_of} for best_of in (1, 2, 4)]
    heard: list[Answer] = []
    async with connect(server.url + "/v1/", api_key=API_KEY, clients=2) as client:
        load = await drive(client, bodies, 2, answered=heard.append)
    assert sorted(answer.index for answer in heard) == [0, 1, 2]
    assert load.succeeded == load.answers
    for answer, best_of in zip(load.answers, (1, 2, 4), strict=True):
        assert answer.rerank["best_of"] == best_of
        assert answer.generated_tokens == sum(c["completion_tokens"] for c in answer.rerank["candidates"])
        assert 0 < answer.returned_tokens <= answer.generated_tokens
        assert 0 < (answer.first_byte_s or 0) <= answer.latency_s <= load.wall_s


@pytest.mark.engine
async def test_a_stream_has_its_first_event_before_its_end(server: Server) -> None:
    body = QUESTION | {"best_of": 2, "stream": True, "stream_options": {"include_usage": True}}
    async with connect(server.url, api_key=API_KEY, clients=1) as client:
        answer = await send(client, body)
    assert answer.ok, answer.error
    assert 0 < (answer.first_byte_s or 0) < answer.latency_s
    assert answer.generated_tokens == answer.rerank["tokens"]["generated"] > 0


@pytest.mark.engine
async def test_what_the_server_refuses_is_told_apart(server: Server) -> None:
    full = QUESTION | {"best_of": 64, "ignore_eos": True}
    async with connect(server.url, api_key=API_KEY, clients=6) as client:
        load = await drive(client, [full] * 6, 6)
        wrong = await send(client, QUESTION | {"best_of": 0})
    refused = [answer for answer in load.answers if answer.refused]
    assert len(load.succeeded) + len(refused) == 6
    assert refused, "six times 64 candidates do not fit into 256"
    assert all(1 <= (answer.retry_after_s or 0) <= 60 for answer in refused)
    assert wrong.status == 400
    assert "best_of" in wrong.error
    server.wait_idle()


@pytest.mark.engine
async def test_a_wrong_key_is_an_error_that_says_so(server: Server) -> None:
    async with connect(server.url, api_key="wrong", clients=1) as client:
        answer = await send(client, QUESTION, path=CHAT)
    assert answer.status == 401
    assert answer.error.startswith("HTTP 401: ")


def test_each_of_a_round_is_first_once() -> None:
    names = ["a", "b", "c"]
    assert {rotated(names, number)[0] for number in range(3)} == set(names)
    assert all(sorted(rotated(names, number)) == names for number in range(4))
