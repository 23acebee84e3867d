"""What keeps a proxy from holding a stream back."""

import pytest

from service.http.vllm_front.stream_headers import StreamHeaders
from tests.service.fakes import answers, call


@pytest.mark.parametrize("kind", ["text/event-stream", "text/event-stream; charset=utf-8"])
async def test_a_stream_is_neither_buffered_nor_kept(kind: str) -> None:
    reply = await call(StreamHeaders(answers(200, b"data: 1\n\n", kind)))
    assert (reply.headers["x-accel-buffering"], reply.headers["cache-control"]) == ("no", "no-cache")
    assert reply.body == b"data: 1\n\n"


async def test_what_vllm_says_itself_is_kept() -> None:
    reply = await call(StreamHeaders(answers(200, b"", "text/event-stream", **{"cache-control": "no-store"})))
    assert reply.headers["cache-control"] == "no-store"


async def test_any_other_answer_stays_as_it_is() -> None:
    reply = await call(StreamHeaders(answers(200, {"a": 1})))
    assert dict(reply.headers) == {"content-type": "application/json"}
