"""A gateway, and the whole application, in front of stand-ins for vLLM's application."""

import asyncio
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.types import ASGIApp, Message

from service.http.app import create_app
from service.http.dependencies import Dependencies
from service.http.gateway import Gateway
from service.http.recorder import Recorder
from service.load.admission import Admission
from service.load.latency_controller import SloController
from service.load.lifecycle import Lifecycle
from service.observe.metrics import Metrics
from service.rerank.errors import EngineDown
from service.rerank.request import Limits
from tests.service.fakes import LIMITS, PATIENCE_S, FakeSampler, FakeScorer, FakeVllm, Reply, call, says, until

REWARDS = {"a": 1.0, "bb": 2.0}


class Served:
    """A gateway in front of an application, with all that it counts."""

    def __init__(
        self,
        inner: ASGIApp,
        limits: Limits = LIMITS,
        slo: SloController | None = None,
        admission: Admission | None = None,
        stream_comments_s: float = 0.0,
        lifecycle: Lifecycle | None = None,
    ) -> None:
        self.registry = CollectorRegistry()
        self.admission = admission or Admission(512)
        self.lifecycle = lifecycle or Lifecycle()
        metrics = Metrics(self.registry, "0", target_s=None if slo is None else slo.target_s)
        recorder = Recorder(metrics, slo=slo)
        self.parts = Dependencies(limits, self.admission, recorder, self.lifecycle, stream_comments_s=stream_comments_s)
        self.app = Gateway(inner, self.parts)

    def counted(self, outcome: str, endpoint: str = "chat", strategy: str = "best_of_n") -> float:
        labels = {"endpoint": endpoint, "strategy": strategy, "outcome": outcome}
        return self.registry.get_sample_value("bestofn_requests_total", labels) or 0.0

    @property
    def requests(self) -> float:
        samples = [sample for metric in self.registry.collect() for sample in metric.samples]
        return sum(sample.value for sample in samples if sample.name == "bestofn_requests_total")

    async def call(self, body: Any, **options: Any) -> Reply:
        async with asyncio.timeout(PATIENCE_S):
            return await call(self.app, body, **options)


def two() -> FakeSampler:
    return FakeSampler(says("a"), says("bb"))


def served(
    sampler: Callable[[], FakeSampler] = two, *, stream_comments_s: float = 0.0, **options: Any
) -> tuple[Served, FakeVllm]:
    inner = FakeVllm(sampler, **({"scorer": FakeScorer(REWARDS)} | options))
    return Served(inner, stream_comments_s=stream_comments_s), inner


def app_over(
    inner: ASGIApp, *, admission: Admission | None = None, problem: str | None = None, **options: Any
) -> Starlette:
    """All our middleware and routes. problem: why the server cannot answer, as `/ready` reports it."""

    async def check_ready() -> None:
        if problem is not None:
            raise EngineDown(problem)

    return create_app(
        inner,
        Dependencies(LIMITS, admission or Admission(512), Recorder(Metrics(CollectorRegistry(), "0")), Lifecycle()),
        guards=options.pop("guards", []),
        check_ready=check_ready,
        engine_version="0.0.test",
        **options,
    )


async def stream_with_comments(messages_before_the_choice: int) -> Reply:
    """A stream whose second and better candidate ends only after so many messages have gone out."""
    sampler = FakeSampler(says("a"), says("bb", held=True))
    gateway, _ = served(lambda: sampler, stream_comments_s=0.002)
    messages: list[Message] = []
    task = asyncio.create_task(gateway.call({"best_of": 2, "stream": True}, messages=messages))
    await until(lambda: len(messages) >= messages_before_the_choice)
    sampler.release(1)
    return await task


def vllm_of_two() -> FakeVllm:
    """Its first candidate is the better one."""
    return FakeVllm(lambda: FakeSampler(says("a"), says("bb")), FakeScorer({"a": 1.0}))
