"""`bestofn serve` around vLLM's application: readiness, who may ask, and what a person reads first."""

import asyncio
import math
import threading
from argparse import Namespace
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.types import ASGIApp
from vllm.entrypoints.openai.models.protocol import BaseModelPath
from vllm.v1.engine.exceptions import EngineDeadError

from service.http.books import Books
from service.http.dependencies import Dependencies
from service.http.recorder import Recorder
from service.load.admission import Admission
from service.load.lifecycle import Lifecycle
from service.observe.metrics import Metrics
from service.records.candidate_log import CandidateLog
from service.rerank.busy_time import BusyMeter
from service.rerank.errors import EngineDown, RewardModelDown
from service.rerank.selection import FREE
from service.rerank.strategies.profile import DEFAULTS
from service.rerank.supervised_scorer import OnRewardFailure, SupervisedScorer
from service.settings import Settings
from service.vllm import server
from service.vllm.client import RerankingEngine
from service.vllm.engine_load import EngineLoad
from service.vllm.engines import Engines
from tests.service.fakes import CHAT, LIMITS, FakeScorer, Reply, call, supervised
from tests.service.vllm.fake_engine import FakeEngine

KEY = "a key"


def arguments(**changes: Any) -> Namespace:
    defaults: dict[str, Any] = {
        "model": "org/policy",
        "served_model_name": None,
        "api_key": None,
        "root_path": None,
        "allowed_origins": ["https://page.example"],
        "allow_credentials": False,
        "allowed_methods": ["*"],
        "allowed_headers": ["*"],
        "uds": None,
        "stream_comments_s": 1.0,
        "shutdown_timeout": 0,
    }
    return Namespace(**defaults | changes)


@pytest.fixture(autouse=True)
def _no_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_API_KEY", raising=False)


def vllm_app(*names: str) -> FastAPI:
    """vLLM's application as far as ours looks into it."""
    app = FastAPI(openapi_url=None)
    paths = [BaseModelPath(name=name, model_path=f"/{name}") for name in names]
    app.state.openai_serving_models = SimpleNamespace(base_model_paths=paths)
    return app


# -- readiness


def reranking(scorer: FakeScorer, on_failure: OnRewardFailure = "error") -> tuple[RerankingEngine, SupervisedScorer]:
    reward = supervised(scorer, on_failure)
    parts = Dependencies(LIMITS, Admission(512), Recorder(Metrics(CollectorRegistry(), "0")), Lifecycle())
    return RerankingEngine(FakeEngine(), reward, BusyMeter(), Books(parts), None, DEFAULTS), reward  # type: ignore[arg-type]


@pytest.mark.parametrize("on_failure", ["error", "unranked"])
async def test_a_server_is_ready_while_it_can_answer(on_failure: OnRewardFailure) -> None:
    scorer = FakeScorer()
    engine, reward = reranking(scorer, on_failure)
    await server.check_ready(engine, reward)
    scorer.die("out of memory")
    await reward.watch()
    if on_failure == "unranked":
        await server.check_ready(engine, reward)
        return
    with pytest.raises(RewardModelDown, match="out of memory"):
        await server.check_ready(engine, reward)


async def test_a_dead_generator_is_why_a_server_is_not_ready() -> None:
    engine, reward = reranking(FakeScorer())
    engine._engine.unhealthy = EngineDeadError("no core left")  # type: ignore[attr-defined]
    with pytest.raises(EngineDown, match=r"^no core left$"):
        await server.check_ready(engine, reward)


# -- who may ask


@pytest.mark.parametrize(
    ("keys", "environment", "guarded"),
    [([KEY], None, True), (None, KEY, True), (["", KEY], None, True), (None, None, False)],
)
async def test_a_key_is_asked_for_where_one_was_set(
    keys: list[str] | None, environment: str | None, guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if environment is not None:
        monkeypatch.setenv("VLLM_API_KEY", environment)
    guards = server._authentication(arguments(api_key=keys))
    assert bool(guards) is guarded
    app = Starlette(middleware=guards)
    stranger = await call(app, path="/v1/models", method="GET")
    friend = await call(app, path="/v1/models", method="GET", headers={"Authorization": f"Bearer {KEY}"})
    assert (stranger.status, friend.status) == (401 if guarded else 404, 404)


async def test_an_empty_key_opens_nothing() -> None:
    app = Starlette(middleware=server._authentication(arguments(api_key=["", KEY])))
    reply = await call(app, path="/v1/models", method="GET", headers={"Authorization": "Bearer "})
    assert reply.status == 401


# -- the whole application


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> CollectorRegistry:
    """In place of the process's own, in which each metric can be registered once."""
    own = CollectorRegistry()
    monkeypatch.setattr(server, "REGISTRY", own)
    return own


async def built(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, scorer: FakeScorer, **changes: Any
) -> tuple[Starlette, FastAPI]:
    """Our application over a stand-in for vLLM's."""
    inner = vllm_app("small")

    async def initialise(engine: Any, state: Any, *_: Any) -> None:
        state.engine_client = engine

    @inner.post(CHAT)
    async def chat() -> dict[str, str]:
        return {"object": "chat.completion"}

    monkeypatch.setattr(server, "build_app", lambda *_: inner)
    monkeypatch.setattr(server, "init_app_state", initialise)
    engine, reward = reranking(scorer)
    engine._engine.get_supported_tasks = _tasks  # type: ignore[assignment, method-assign]
    engine._engine.model_config = None  # type: ignore[assignment]
    parts = server.dependencies(arguments(**changes), settings, reward, BusyMeter())
    app = await server.build(arguments(**changes), settings, engine, reward, parts, {"generator": EngineLoad()})
    return app, inner


async def _tasks() -> tuple[str, ...]:
    return ("generate",)


async def ask(app: ASGIApp, body: Any = b"", **options: Any) -> Reply:
    async with asyncio.timeout(5):
        return await call(app, body, **options)


async def test_the_application_is_ours_in_front_of_vllms(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = FakeScorer()
    settings = Settings(best_of=2, max_best_of=4, max_candidates=8)
    app, inner = await built(monkeypatch, settings, scorer, api_key=[KEY], root_path="/api")
    allowed = {"Authorization": f"Bearer {KEY}"}
    assert (await ask(app, {}, headers=allowed)).json["object"] == "chat.completion"
    refused = await ask(app, {"best_of": 5}, headers=allowed, path=f"/api{CHAT}")
    assert (refused.status, refused.json["error"]["param"]) == (400, "best_of")
    assert (await ask(app, {})).status == 401
    assert (await ask(app, path="/ready", method="GET")).status == 200
    scorer.die("out of memory")
    assert "out of memory" in (await ask(app, path="/ready", method="GET")).json["error"]["message"]
    assert app.state is inner.state
    assert len(inner.state.openai_serving_models.base_model_paths) == 4
    assert registry.get_sample_value("bestofn_candidates_limit") == 8


async def test_a_page_of_another_origin_may_read_refusals(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, _ = await built(monkeypatch, Settings(), FakeScorer(), api_key=[KEY])
    replies = [await ask(app, {}, headers={"Origin": f"https://{host}.example"}) for host in ("page", "other")]
    assert [reply.status for reply in replies] == [401, 401]
    assert [reply.headers.get("access-control-allow-origin") for reply in replies] == ["https://page.example", None]


async def test_the_log_is_open_while_the_application_lives(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = Settings(candidate_log=str(tmp_path / "log"), candidate_log_max_mb=3)
    app, inner = await built(monkeypatch, settings, FakeScorer())
    seen: list[str] = []

    @asynccontextmanager
    async def vllms(_: Any) -> AsyncIterator[None]:
        seen.append("up")
        yield
        seen.append("down")

    inner.router.lifespan_context = vllms

    def up() -> float | None:
        return registry.get_sample_value("bestofn_candidate_log_up")

    assert up() == 0
    async with app.router.lifespan_context(app):
        assert (seen, up()) == (["up"], 1)
    assert (seen, up()) == (["up", "down"], 0)


async def test_the_loop_goes_on_while_the_log_is_closed(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app, inner = await built(monkeypatch, Settings(candidate_log=str(tmp_path / "log")), FakeScorer())

    @asynccontextmanager
    async def vllms(_: Any) -> AsyncIterator[None]:
        yield

    inner.router.lifespan_context = vllms
    closing, may_end = asyncio.Event(), threading.Event()
    loop, close = asyncio.get_running_loop(), CandidateLog.close

    def slowly(log: CandidateLog) -> None:
        loop.call_soon_threadsafe(closing.set)
        may_end.wait(10)
        close(log)

    monkeypatch.setattr(CandidateLog, "close", slowly)

    async def live() -> None:
        async with app.router.lifespan_context(app):
            pass

    living = asyncio.create_task(live())
    await asyncio.wait_for(closing.wait(), 10)
    assert not living.done()
    may_end.set()
    await living


def test_without_a_folder_there_is_no_log(registry: CollectorRegistry) -> None:
    metrics = Metrics(registry, "0")
    assert server._candidate_log(Settings(), metrics) is None


# -- who does not read


def test_steps_of_the_reward_engine_are_its_life() -> None:
    load = EngineLoad()
    for loads, stepped_s in (({"reward": load}, 7.0), ({}, -math.inf)):
        load.stepped_s = 7.0
        engines = Engines(FakeEngine(), FakeScorer(), loads)  # type: ignore[arg-type]
        reward = server.supervised(engines, Settings())
        assert reward is not None
        assert reward._stepped_s() == stepped_s


# -- without a reward model


async def test_without_a_reward_model_a_server_is_ready_while_its_generator_is() -> None:
    parts = Dependencies(LIMITS, Admission(512), Recorder(Metrics(CollectorRegistry(), "0")), Lifecycle())
    generator = FakeEngine()
    engine = RerankingEngine(generator, None, BusyMeter(), Books(parts), None, DEFAULTS)  # type: ignore[arg-type]
    await server.check_ready(engine, None)
    assert (engine.errored, engine.is_running) == (False, True)
    generator.unhealthy = EngineDeadError("no core left")
    with pytest.raises(EngineDown, match=r"^no core left$"):
        await server.check_ready(engine, None)


def test_without_a_reward_model_requests_stand_on_none(registry: CollectorRegistry) -> None:
    parts = server.dependencies(arguments(), Settings().without_reward_model(), None, BusyMeter())
    assert (parts.limits.has_reward_model, parts.limits.selection) == (False, FREE)
    assert registry.get_sample_value("bestofn_reward_model_up") is None
    assert registry.get_sample_value("bestofn_scores_in_flight") == 0
