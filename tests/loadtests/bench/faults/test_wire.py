"""Each way in which an exchange can end."""

import pytest

from loadtests.bench.faults.wire import Asked, Manners, Reply, send
from tests.loadtests.bench.faults.lives import http, scripted

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
WHOLE = CHUNKED + b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"


async def answered(answer: bytes, manners: Manners | None = None, *, hold: bool = False) -> Reply:
    async with scripted(answer, hold=hold) as url:
        return await send(url, Asked("/x", {"stream": True}), manners)


@pytest.mark.parametrize(("answer", "body"), [(http(b"{}"), b"{}"), (WHOLE, b"abcdefg")])
async def test_a_whole_body(answer: bytes, body: bytes) -> None:
    reply = await answered(answer)
    assert (reply.status, reply.body, reply.whole, reply.trouble) == (200, body, True, "")


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [(b"", 0, b""), (http(b"{}")[:-1], 200, b"{"), (WHOLE[:-5], 200, b"abcdefg"), (CHUNKED, 200, b"")],
)
async def test_a_connection_that_breaks_off(answer: bytes, status: int, body: bytes) -> None:
    reply = await answered(answer)
    assert (reply.status, reply.body, reply.whole, reply.left) == (status, body, False, False)
    assert reply.trouble


async def test_a_port_where_nobody_listens_is_a_reply_too() -> None:
    async with scripted(b"") as url:
        pass
    reply = await send(url, Asked("/x", {}))
    assert (reply.status, reply.whole) == (0, False)
    assert "Connect" in reply.trouble


async def test_a_client_that_leaves_and_one_whose_patience_ends() -> None:
    left = await answered(CHUNKED, Manners(leave_after_s=0.05), hold=True)
    assert (left.left, left.trouble, left.status) == (True, "the client left", 200)
    waited = await answered(CHUNKED, Manners(patience_s=0.05), hold=True)
    assert (waited.left, waited.trouble) == (False, "no end after 0.05 s")


async def test_a_slow_reader_reads_the_same_in_its_own_time() -> None:
    pieces: list[bytes] = []
    reply = await answered(http(b"x" * 200), Manners(read_bytes=64, pause_s=0.01, on_data=pieces.append))
    assert (reply.body, reply.whole) == (b"x" * 200, True)
    assert reply.ended_s - reply.sent_s >= 0.03
    assert b"".join(pieces) == reply.body
    assert len(pieces) > 2


def test_whether_a_stream_is_asked_for() -> None:
    assert [Asked("/x", body).streamed for body in ({"stream": True}, {}, b'{"stream": true}')] == [True, False, False]
