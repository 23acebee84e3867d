"""Serving over a real socket, with a small application in place of vLLM's."""

import asyncio
import os
import signal
import socket
from argparse import Namespace
from collections.abc import AsyncIterator
from types import SimpleNamespace

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from service.load.lifecycle import Lifecycle
from service.vllm.life import http_server

ARGUMENTS = Namespace(
    **dict.fromkeys(("ssl_keyfile", "ssl_certfile", "ssl_ca_certs", "ssl_ciphers", "log_config_file")),
    **dict.fromkeys(("h11_max_incomplete_event_size", "h11_max_header_count", "disable_access_log_for_endpoints")),
    host="127.0.0.1",
    port=0,
    ssl_cert_reqs=0,
    uvicorn_log_level="info",
    disable_uvicorn_access_log=True,
    enable_ssl_refresh=False,
)


@pytest.fixture(autouse=True)
async def _signals_as_before() -> AsyncIterator[None]:
    yield
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().remove_signal_handler(number)


def application() -> Starlette:
    async def slow(_: Request) -> PlainTextResponse:
        await asyncio.sleep(0.3)
        return PlainTextResponse("done")

    app = Starlette(routes=[Route("/", slow)])
    app.state.engine_client = SimpleNamespace(errored=False, is_running=True)
    return app


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_greets_when_it_listens_and_ends_on_a_signal_when_all_is_answered(
    number: int, capfd: pytest.CaptureFixture[str]
) -> None:
    app, lifecycle, listening = application(), Lifecycle(drain_s=30), asyncio.Event()
    sock = socket.create_server(("127.0.0.1", 0))
    serving = asyncio.create_task(http_server.run(app, sock, ARGUMENTS, lifecycle, listening.set))
    async with asyncio.timeout(20), httpx.AsyncClient(base_url=f"http://127.0.0.1:{sock.getsockname()[1]}") as client:
        await listening.wait()
        assert lifecycle.refusal is None
        asking = asyncio.create_task(client.get("/"))
        await asyncio.sleep(0.1)
        os.kill(os.getpid(), number)
        assert (await asking).text == "done"
        await serving
    assert app.state.server.should_exit
    assert capfd.readouterr() == ("", "")


async def test_it_ends_when_an_engine_has_died(monkeypatch: pytest.MonkeyPatch) -> None:
    app, lifecycle = application(), Lifecycle()
    monkeypatch.setattr(http_server, "watchdog_loop", _ends)
    sock = socket.create_server(("127.0.0.1", 0))
    async with asyncio.timeout(20):
        await http_server.run(app, sock, ARGUMENTS, lifecycle, lambda: None)
    assert not lifecycle.told_to_stop


async def _ends(server: SimpleNamespace, _: object) -> None:
    await asyncio.sleep(0.2)
    server.should_exit = True
