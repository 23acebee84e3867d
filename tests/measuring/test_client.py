import asyncio
from typing import Any

import httpx2
import pytest

from measuring.client import connect, first_model, models, send
from tests.server import API_KEY, Server

QUESTION: dict[str, Any] = {"messages": [{"role": "user", "content": "What is 35+21+81?"}], "max_tokens": 64}


@pytest.mark.parametrize(
    ("events", "error"),
    [
        (['{"id": "1"}', '{"usage": {"completion_tokens": 3}}', "[DONE]"], ""),
        (['{"id": "1"}', '{"usage": {"completion_tokens": 3}}'], "HTTP 200: the stream ended without [DONE]"),
        (['{"error": {"message": "out of memory"}}'], "HTTP 200: out of memory"),
    ],
)
async def test_a_stream_that_is_cut_off_is_no_answer(events: list[str], error: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
        writer.write((head + "".join(f"data: {event}\n\n" for event in events)).encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with connect(f"http://127.0.0.1:{port}", clients=1) as client:
            answer = await send(client, QUESTION | {"stream": True})
    assert (answer.status, answer.error) == (200, error)
    assert answer.ok == (not error)
    assert answer.first_byte_s is not None


def listing(status: int, body: object) -> httpx2.AsyncClient:
    transport = httpx2.MockTransport(lambda request: httpx2.Response(status, json=body))
    return httpx2.AsyncClient(base_url="http://there", transport=transport)


async def test_the_names_of_a_server_are_those_that_it_lists() -> None:
    body = {"data": [{"id": "m"}, {"id": "m:best-of-8"}]}
    assert await models(listing(200, body)) == ["m", "m:best-of-8"]
    assert await first_model(listing(200, body)) == "m"


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [(401, {}, "/v1/models: HTTPStatusError"), (200, [], "/v1/models: TypeError"), (200, {"data": []}, "no model")],
)
async def test_a_server_without_a_list_of_models_is_an_error(status: int, body: object, message: str) -> None:
    with pytest.raises(ConnectionError, match=message):
        await first_model(listing(status, body))


async def test_no_server_is_one_clear_error() -> None:
    async with connect("http://127.0.0.1:1/v1", clients=1) as client:
        with pytest.raises(ConnectionError, match=r"no server answers at http://127\.0\.0\.1:1: ConnectError"):
            await models(client)


@pytest.mark.engine
async def test_a_stream_has_its_first_event_before_its_end(server: Server) -> None:
    body = QUESTION | {"best_of": 2, "stream": True, "stream_options": {"include_usage": True}}
    async with connect(server.url, api_key=API_KEY, clients=1) as client:
        answer = await send(client, body)
    assert answer.ok, answer.error
    assert 0 < (answer.first_byte_s or 0) < answer.latency_s
    assert answer.generated_tokens == answer.rerank["tokens"]["generated"] > 0


@pytest.mark.engine
async def test_a_wrong_key_is_an_error_that_says_so(server: Server) -> None:
    async with connect(server.url, api_key="wrong", clients=1) as client:
        answer = await send(client, QUESTION)
    assert answer.status == 401
    assert answer.error.startswith("HTTP 401: ")
