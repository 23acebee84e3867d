"""`bestofn serve`: vLLM's OpenAI application, over the reranking engine."""

import asyncio
import logging
import os
import socket
import sys
from argparse import Namespace
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import vllm
from fastapi import FastAPI
from prometheus_client import REGISTRY
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from vllm import envs
from vllm.entrypoints.launchers.api_server.app_state import init_app_state
from vllm.entrypoints.launchers.app import build_app
from vllm.entrypoints.launchers.launcher import setup_server
from vllm.entrypoints.serve.middleware.authenticate import AuthenticationMiddleware
from vllm.logger import configure_logging_from_args
from vllm.v1.engine.exceptions import EngineDeadError

from reward.scorer import RewardUnavailable
from service.http.app import create_app
from service.http.dependencies import Dependencies
from service.http.recorder import Recorder
from service.load.admission import Admission
from service.load.latency_controller import SloController
from service.load.lifecycle import Lifecycle
from service.observe.metrics import CostCounter, Metrics
from service.records.candidate_log import CandidateLog
from service.rerank.busy_time import BusyMeter
from service.rerank.errors import EngineDown, RewardModelDown
from service.rerank.request import Limits
from service.rerank.supervised_scorer import SupervisedScorer
from service.settings import Settings
from service.vllm.banner import banner
from service.vllm.bundled import Bundled
from service.vllm.client import RerankingEngine
from service.vllm.command_line import parse
from service.vllm.engine_load import EngineLoad
from service.vllm.engines import StartFailed, start_engines
from service.vllm.inner_app import EXPOSED_HEADERS, adapt, reason
from service.vllm.life import http_server
from service.vllm.life.engine_process import leave
from service.vllm.life.preflight import NotServable, check

_ENGINE_DIED = 1
_CANNOT_BE_SERVED = 2
_logger = logging.getLogger(__name__)


async def serve(args: Namespace, settings: Settings) -> int:
    """Start everything and serve until told to stop. Returns the process's exit status."""
    address, sock = setup_server(args, reuse_port=False)
    leave_who_does_not_read(sock, settings.write_timeout_s)
    try:
        engines = await start_engines(args, settings)
    except StartFailed as error:
        print(f"bestofn serve: {error}", file=sys.stderr)
        leave(_ENGINE_DIED)
    meter = BusyMeter()
    reward = SupervisedScorer(
        engines.scorer, settings.on_reward_failure, settings.reward_timeout_s, settings.reward_hang_s
    )
    parts, tokens = dependencies(args, settings, reward, meter), settings.prefix_score_tokens
    engine = RerankingEngine(engines.generator, reward, meter, parts, tokens, settings.profile, args)
    if warning := reward.reads_less_than(engine.model_config.max_model_len):
        _logger.warning(warning)
    watching = asyncio.create_task(reward.watch())
    try:
        app = await build(args, settings, engine, reward, parts, engines.loads)
        greeting = banner(address, args, guarded=bool(_authentication(args)))
        await http_server.run(app, sock, args, parts.lifecycle, lambda: print(greeting, flush=True))
        died = engine.errored and not parts.lifecycle.told_to_stop
    finally:
        watching.cancel()
        await engines.close()
        sock.close()
    return _ENGINE_DIED if died else 0


def dependencies(args: Namespace, settings: Settings, reward: SupervisedScorer, meter: BusyMeter) -> Dependencies:
    """What requests stand on, beside the engines."""
    prices = settings.prices
    costs = None if prices is None else CostCounter(prices.cost([]), lambda: prices.idle(meter.idle_s))
    target_s = None if settings.slo_p99_ms is None else settings.slo_p99_ms / 1000
    metrics = Metrics(REGISTRY, vllm.__version__, costs, target_s)
    candidate_log = _candidate_log(settings, metrics)
    admission = Admission(settings.max_candidates, settings.max_queued_requests, settings.max_queue_s)
    metrics.observe(
        candidates_in_flight=lambda: admission.in_flight,
        candidates_limit=lambda: admission.limit,
        requests_queued=lambda: admission.queued,
        scores_in_flight=lambda: reward.in_flight,
        reward_model_up=lambda: reward.failure is None,
        candidate_log_up=lambda: candidate_log is None or candidate_log.up,
    )
    limits = Limits(
        settings.best_of,
        settings.max_best_of,
        settings.max_candidates,
        settings.strategy,
        settings.selection,
        reward.config,
    )
    slo = None if target_s is None else SloController(target_s)
    return Dependencies(
        limits,
        admission,
        Recorder(metrics, candidate_log, slo),
        Lifecycle(args.shutdown_timeout),
        prices,
        args.stream_comments_s,
    )


async def build(
    args: Namespace,
    settings: Settings,
    engine: RerankingEngine,
    reward: SupervisedScorer,
    parts: Dependencies,
    loads: Mapping[str, EngineLoad],
) -> Starlette:
    """vLLM's application over `engine`, behind our gateway."""
    tasks = await engine.get_supported_tasks()
    inner = build_app(args, tasks, engine.model_config)
    await init_app_state(engine, inner.state, args, tasks)  # type: ignore[arg-type]
    adapt(inner, settings.max_best_of)
    for name, load in loads.items():
        parts.recorder.metrics.observe_engine(name, load)
    app = create_app(
        inner,
        parts,
        guards=[_cross_origin(args), *_authentication(args)],
        check_ready=lambda: check_ready(engine, reward),
        engine_version=vllm.__version__,
        root_path=args.root_path or "",
        lifespan=_lifespan(inner, parts.recorder.candidate_log),
    )
    app.state = inner.state  # `http_server` and vLLM's error handlers find the server and the engine there
    return app


def leave_who_does_not_read(sock: socket.socket, timeout_s: float) -> None:
    """Let the kernel end a connection whose other side has taken nothing for so long; uvicorn would wait for ever.

    Connections inherit it from the socket that listens.
    """
    if hasattr(socket, "TCP_USER_TIMEOUT") and sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(timeout_s * 1000))


def _candidate_log(settings: Settings, metrics: Metrics) -> CandidateLog | None:
    if settings.candidate_log is None:
        return None
    max_bytes = settings.candidate_log_max_mb * 10**6
    directory = Path(settings.candidate_log)
    return CandidateLog(directory, max_bytes, metrics.logged, reward_model=settings.reward_model)


def _lifespan(inner: FastAPI, candidate_log: CandidateLog | None) -> Any:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        with candidate_log or nullcontext():
            async with inner.router.lifespan_context(inner):
                yield

    return lifespan


def _cross_origin(args: Namespace) -> Middleware:
    """vLLM's own rules, in front of ours: a web page of another origin may read our refusals too."""
    return Middleware(
        CORSMiddleware,
        allow_origins=args.allowed_origins,
        allow_credentials=args.allow_credentials,
        allow_methods=args.allowed_methods,
        allow_headers=args.allowed_headers,
        expose_headers=EXPOSED_HEADERS,
    )


def _authentication(args: Namespace) -> list[Middleware]:
    """vLLM's own check, in front of ours: who may not ask must not take up places either."""
    tokens = [key for key in (args.api_key or [envs.VLLM_API_KEY]) if key]
    return [Middleware(AuthenticationMiddleware, tokens=tokens)] if tokens else []


async def check_ready(engine: RerankingEngine, reward: SupervisedScorer) -> None:
    """Raises ServiceError: why the server cannot answer now."""
    try:
        reward.check_ready()
        await engine.check_health()
    except EngineDeadError as error:
        raise EngineDown(reason(error)) from error
    except RewardUnavailable as error:
        raise RewardModelDown(f"the reward model is unavailable: {error}") from error


def main(argv: Sequence[str], bundled: Mapping[str, Bundled]) -> None:
    """Entry of `bestofn serve`."""
    import uvloop

    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    args, settings = parse(argv, bundled)
    configure_logging_from_args(args)
    try:
        check(args, settings)
    except NotServable as error:
        print(f"bestofn serve: {error}", file=sys.stderr)
        sys.exit(_CANNOT_BE_SERVED)
    sys.exit(uvloop.run(serve(args, settings)))
