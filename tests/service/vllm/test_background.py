"""Responses in the background: each ends, for whoever asks for it or follows its stream, and is counted once."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from service.http.books import Books
from service.load.admission import Admission
from service.rerank.context import current_request
from service.rerank.errors import ShuttingDown
from service.vllm.background import BackgroundResponses
from tests.service.fakes import answers, cancelled, settle, until
from tests.service.http.served import Served

ASKED = SimpleNamespace(request_id="r")


class Event(SimpleNamespace):
    def model_dump(self, **_: Any) -> dict[str, Any]:
        return vars(self)


class Serving:
    """As much of vLLM's `OpenAIServingResponses` as there is to the background, with its own ways."""

    def __init__(self, *, raises: Exception | None = None, ends: str = "completed", held: bool = False) -> None:
        self.response_store = {"r": SimpleNamespace(status="queued")}
        self.response_store_lock = asyncio.Lock()
        self.event_store: dict[str, Any] = {}
        self.released = asyncio.Event()
        self.contexts: list[Any] = []
        self._raises, self._ends = raises, ends
        if not held:
            self.released.set()

    async def _run_background_request(self, request: Any) -> None:
        await self._work()

    async def _work(self) -> None:
        self.contexts.append(current_request.get())
        try:
            await self.released.wait()
        except asyncio.CancelledError:  # vLLM makes an error of it that it returns
            return
        if self._raises is not None:
            raise self._raises
        self.response_store["r"].status = self._ends

    async def responses_stream_generator(self, request: Any) -> AsyncIterator[Event]:
        yield Event(type="response.created", sequence_number=0, response={"id": "r", "status": "in_progress"})
        await self._work()
        if self._ends == "completed":
            yield Event(type="response.completed", sequence_number=1)
        else:
            yield Event(type="error", sequence_number=1)

    async def responses_background_stream_generator(self, response_id: str, starting_after: Any) -> AsyncIterator[Any]:
        yield self.event_store[response_id]


class Server:
    """vLLM's serving in our hands, with what it counts."""

    def __init__(self, serving: Serving, admission: Admission | None = None) -> None:
        self.served = Served(answers(200, {}), admission=admission)
        self.serving = serving
        self.background = BackgroundResponses(serving, Books(self.served.parts))

    def start(self, *, stream: bool) -> "asyncio.Task[None]":
        work = self.background.stream(ASKED) if stream else self.background.generate(ASKED)
        return asyncio.create_task(work)

    async def read(self, after: int | None = None) -> list[Any]:
        async with asyncio.timeout(2):
            return [event.model_dump() async for event in self.background.read("r", after)]

    @property
    def status(self) -> str:
        return str(self.serving.response_store["r"].status)

    def counted(self, outcome: str, strategy: str = "best_of_n") -> bool:
        """It was, and nothing else."""
        return self.served.counted(outcome, "responses", strategy) == self.served.requests == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_one_that_is_done_is_counted_once_as_a_response(stream: bool) -> None:
    server = Server(Serving())
    await server.start(stream=stream)
    assert (server.status, server.counted("ok"), server.served.admission.in_flight) == ("completed", True, 0)
    assert server.serving.contexts[0].request_id == "r"
    if stream:
        assert [event["type"] for event in await server.read()] == ["response.created", "response.completed"]
        assert [await server.read(0), await server.read(1), await server.read(99)] == [
            (await server.read())[1:],
            [],
            [],
        ]


@pytest.mark.parametrize("stream", [False, True])
async def test_one_that_finds_no_place_has_failed_with_the_error(stream: bool) -> None:
    server = Server(Serving(), Admission(1, max_queued=0))
    server.served.admission.ticket()
    await server.start(stream=stream)
    assert (server.status, server.counted("overloaded", "none"), server.serving.contexts) == ("failed", True, [])
    assert server.serving.response_store["r"].error["code"] == "overloaded"
    if stream:
        (error,) = await server.read()
        assert (error["type"], error["code"], error["sequence_number"]) == ("error", "overloaded", 0)


@pytest.mark.parametrize("stream", [False, True])
async def test_one_whose_server_stops_has_failed_and_its_stream_ends(stream: bool) -> None:
    server = Server(Serving(raises=ShuttingDown("now", retry_after_s=1), held=True))
    task = server.start(stream=stream)
    await until(lambda: len(server.serving.contexts) == 1)
    following = asyncio.create_task(server.read()) if stream else None
    await settle()
    server.serving.released.set()
    await task
    assert (server.status, server.counted("shutting_down")) == ("failed", True)
    if following is not None:
        _, error, failed = await following
        assert (error["type"], error["sequence_number"], failed["type"]) == ("error", 1, "response.failed")
        assert failed["response"]["status"] == "failed"


async def test_a_bug_is_told_as_one_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(Serving(raises=KeyError("secret")))
    await server.start(stream=True)
    events = await server.read()
    assert (events[1]["code"], events[1]["message"]) == ("internal_error", "internal error: KeyError")
    assert (server.counted("error"), len(caplog.records)) == (True, 1)


async def test_one_that_vllm_itself_fails_is_no_success() -> None:
    """It ends the stream with an error of its own, and leaves the response as it was."""
    server = Server(Serving(ends="queued"))
    await server.start(stream=True)
    assert (server.status, server.counted("error")) == ("failed", True)
    assert [event["type"] for event in await server.read()] == ["response.created", "error"]


@pytest.mark.parametrize("stream", [False, True])
async def test_one_that_is_cancelled_stays_cancelled_and_its_stream_ends(stream: bool) -> None:
    server = Server(Serving(held=True))
    task = server.start(stream=stream)
    await until(lambda: len(server.serving.contexts) == 1)
    server.serving.response_store["r"].status = "cancelled"
    await cancelled(task)
    assert (server.status, server.counted("cancelled")) == ("cancelled", True)
    if stream:
        assert [event["type"] for event in await server.read()][:1] == ["response.created"]


async def test_one_that_nobody_knows_is_vllms_to_refuse() -> None:
    with pytest.raises(KeyError):
        await Server(Serving()).read()
