"""Chromium, a tab that tells what went wrong in it, and a server over a scripted engine."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright, expect
from prometheus_client import CollectorRegistry, generate_latest
from starlette.types import ASGIApp, Receive, Scope, Send

from scripts.tools import find_chromium
from service.http.app import create_app
from service.http.dependencies import Dependencies
from service.http.recorder import Recorder
from service.load.admission import Admission
from service.load.lifecycle import Lifecycle
from service.observe.metrics import Metrics
from service.records.candidate_log import CandidateLog
from service.rerank.request import Limits
from tests.service.fakes import FakeVllm, answers

_OPTIONS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
_MODELS = ["arithmetic", "arithmetic:best-of-1", "arithmetic:best-of-2", "arithmetic:best-of-4", "arithmetic:best-of-8"]

expect.set_options(timeout=20_000)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """The Chromium of `scripts.tools`; the test is skipped where there is none."""
    path = find_chromium()
    if path is None:
        pytest.skip("no Chromium here: make tools")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=_OPTIONS.split())
        yield browser
        await browser.close()


@dataclass
class Visit:
    """One tab on the page, with everything that should not have happened in it.

    refusals: statuses of HTTP that the test provokes; Chromium reports each as an error.
    """

    page: Page
    url: str
    refusals: set[int] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)

    def watch(self) -> None:
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        provoked = any(f"status of {status} " in message.text for status in self.refusals)
        if message.type in ("error", "warning") and not provoked:
            self.wrong.append(f"{message.type}: {message.text}")

    def _request(self, request: Request) -> None:
        if not request.url.startswith(self.url):
            self.wrong.append(f"a request left the server: {request.url}")

    async def opened(self, view: str = "ask") -> Page:
        await self.page.goto(f"{self.url}/#{view}")
        return self.page

    async def ask(self, question: str) -> None:
        await self.page.fill("#question", question)
        await self.page.click("#ask-button")

    async def fits(self) -> bool:
        """Whether nothing is wider than the window."""
        wide, window = await self.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        return bool(wide <= window)


@asynccontextmanager
async def visiting(browser: Browser, url: str, width: int = 1280) -> AsyncIterator[Visit]:
    """A tab of its own, which fails the test at the end when anything was wrong in it."""
    context = await browser.new_context(viewport={"width": width, "height": 800}, reduced_motion="reduce")
    visit = Visit(await context.new_page(), url)
    visit.watch()
    yield visit
    await context.close()
    assert visit.wrong == []


@contextmanager
def page_over(
    vllm: FakeVllm,
    *,
    max_candidates: int = 512,
    candidate_log: CandidateLog | None = None,
    root_path: str = "",
    others: Mapping[str, ASGIApp] | None = None,
) -> Iterator[str]:
    """Our application over a scripted engine; the address without a slash at its end. others: answers by path."""
    registry = CollectorRegistry()
    limits = Limits(1, 8, max_candidates)

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(scope["root_path"])
        plain: dict[str, ASGIApp] = {
            "/v1/models": answers(200, {"data": [{"id": name} for name in _MODELS]}),
            "/metrics": answers(200, generate_latest(registry), "text/plain"),
            "/v1/chat/completions": vllm,
        }
        await (others or {}).get(path, plain.get(path, answers(404, {"detail": "Not Found"})))(scope, receive, send)

    async def ready() -> None:
        return None

    app = create_app(
        inner,
        Dependencies(limits, Admission(max_candidates), Recorder(Metrics(registry, "0"), candidate_log), Lifecycle()),
        guards=[],
        check_ready=ready,
        engine_version="0",
        root_path=root_path,
    )
    with _serving(app) as url:
        yield url + root_path


@contextmanager
def _serving(app: Any) -> Iterator[str]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()
