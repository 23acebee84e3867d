"""A request's stage, as its stream shows it."""

import asyncio

import pytest

from loadtests.bench.faults.stages import Stage, reach, sentinel
from loadtests.bench.faults.traffic import Traffic
from tests.loadtests.bench.faults.lives import scripted

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(text: bytes) -> bytes:
    return f"{len(text):x}\r\n".encode() + text + b"\r\n"


RUNNING = chunk(b': {"candidates":[{"index":0,"state":"running","tokens":3}]}\n\n')
FINISHED = chunk(b': {"candidates":[{"index":0,"state":"finished","tokens":9}]}\n\n')
DATA = chunk(b'data: {"choices":[]}\n\n')
DONE = chunk(b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("stage", "sent", "is_reached"),
    [
        ("decode", RUNNING, True),
        ("draining", RUNNING, True),
        ("scoring", RUNNING + FINISHED, True),
        ("streaming", DATA, True),
        ("recording", DATA + DONE, True),
        ("recording", DATA + DONE[:12], False),
        ("scoring", RUNNING, False),
    ],
)
async def test_a_stage_is_reached_by_what_the_stream_holds(stage: Stage, sent: bytes, is_reached: bool) -> None:
    """Where the stream goes on, it is reached before its end; one that ends without the sign never was there."""
    async with scripted(HEAD + sent, hold=is_reached) as url:
        traffic = Traffic(url, [])
        assert await reach(stage, traffic) is is_reached
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            if "send" in repr(task.get_coro()):
                task.cancel()


def test_sentinels_are_long_enough_to_be_met() -> None:
    assert len(str(sentinel("prefill").body)) > 1000
    assert sentinel("streaming").streamed
