"""`bestofn serve`: vLLM's OpenAI application, over the reranking engine."""

import asyncio
import logging
import math
import os
import sys
from argparse import Namespace
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
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
from vllm.entrypoints.serve.middleware.authenticate import AuthenticationMiddleware
from vllm.logger import configure_logging_from_args
from vllm.utils.system_utils import set_ulimit
from vllm.v1.engine.exceptions import EngineDeadError

from reward.config import PLAIN
from reward.scorer import RewardUnavailable
from service.http.app import create_app
from service.http.books import Books
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
from service.vllm.background import BackgroundResponses
from service.vllm.banner import banner
from service.vllm.bundled import Bundled
from service.vllm.client import RerankingEngine
from service.vllm.command_line import CANNOT_BE_SERVED, parse
from service.vllm.engine_load import EngineLoad
from service.vllm.engines import Engines, StartFailed, start_engines
from service.vllm.inner_app import EXPOSED_HEADERS, adapt, reason
from service.vllm.life import http_server
from service.vllm.life.address import Address
from service.vllm.life.engine_process import cause, leave
from service.vllm.life.preflight import NotServable, check

_ENGINE_DIED = 1
_logger = logging.getLogger(__name__)


async def serve(args: Namespace, settings: Settings, address: Address) -> int:
    """Start everything and serve until told to stop. Returns the process's exit status."""
    try:
        engines = await start_engines(args, settings)
    except StartFailed as error:
        print(f"bestofn serve: {error}", file=sys.stderr)
        leave(_ENGINE_DIED)
    meter = BusyMeter()
    reward = supervised(engines, settings)
    parts, tokens = dependencies(args, settings, reward, meter), settings.prefix_score_tokens
    engine = RerankingEngine(engines.generator, reward, meter, Books(parts), tokens, settings.profile, args)
    if reward is not None and (warning := reward.reads_less_than(engine.model_config.max_model_len)):
        _logger.warning(warning)
    watching = None if reward is None else asyncio.create_task(reward.watch())
    try:
        try:
            app = await build(args, settings, engine, reward, parts, engines.loads)
        except Exception as error:  # whatever of the options vLLM looks at last
            print(f"bestofn serve: vLLM's application did not start: {cause(error)}", file=sys.stderr)
            leave(_ENGINE_DIED)
        greeting = banner(address.url, args, guarded=bool(_authentication(args)))
        address.listen()
        await http_server.run(app, address.sock, args, parts.lifecycle, lambda: print(greeting, flush=True))
        died = engine.errored and not parts.lifecycle.told_to_stop
    finally:
        if watching is not None:
            watching.cancel()
        await engines.close()
        address.close()
    return _ENGINE_DIED if died else 0


def supervised(engines: Engines, settings: Settings) -> SupervisedScorer | None:
    """The scorer, watched, where there is one; steps of its engine count as life where it has one."""
    if engines.scorer is None:
        return None
    load = engines.loads.get("reward")
    return SupervisedScorer(
        engines.scorer,
        settings.on_reward_failure,
        settings.reward_timeout_s,
        settings.reward_hang_s,
        stepped_s=lambda: -math.inf if load is None else load.stepped_s,
    )


def dependencies(
    args: Namespace, settings: Settings, reward: SupervisedScorer | None, meter: BusyMeter
) -> Dependencies:
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
        scores_in_flight=lambda: 0 if reward is None else reward.in_flight,
        reward_model_up=None if reward is None else lambda: reward.failure is None,
        candidate_log_up=lambda: candidate_log is None or candidate_log.up,
    )
    limits = Limits(
        settings.best_of,
        settings.max_best_of,
        settings.max_candidates,
        settings.strategy,
        settings.selection,
        PLAIN if reward is None else reward.config,
        has_reward_model=reward is not None,
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
    reward: SupervisedScorer | None,
    parts: Dependencies,
    loads: Mapping[str, EngineLoad],
) -> Starlette:
    """vLLM's application over `engine`, behind our gateway."""
    tasks = await engine.get_supported_tasks()
    inner = build_app(args, tasks, engine.model_config)
    await init_app_state(engine, inner.state, args, tasks)  # type: ignore[arg-type]
    adapt(inner, settings.max_best_of)
    if (responses := getattr(inner.state, "openai_serving_responses", None)) is not None:
        BackgroundResponses(responses, Books(parts))
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


def _candidate_log(settings: Settings, metrics: Metrics) -> CandidateLog | None:
    if settings.candidate_log is None:
        return None
    max_bytes = settings.candidate_log_max_mb * 10**6
    directory = Path(settings.candidate_log)
    return CandidateLog(directory, max_bytes, metrics.logged, reward_model=settings.reward_model)


def _lifespan(inner: FastAPI, candidate_log: CandidateLog | None) -> Any:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        if candidate_log is not None:
            candidate_log.start()
        try:
            async with inner.router.lifespan_context(inner):
                yield
        finally:
            if candidate_log is not None:  # what is queued may take the disk a while
                await asyncio.to_thread(candidate_log.close)

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


async def check_ready(engine: RerankingEngine, reward: SupervisedScorer | None) -> None:
    """Raises ServiceError: why the server cannot answer now."""
    try:
        if reward is not None:
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
    # Of 1024, which it keeps by default, each as large as half a megabyte, it meets only few again.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")
    args, settings = parse(argv, bundled)
    configure_logging_from_args(args)
    set_ulimit()  # of open files, which each connection takes one of
    try:
        address = Address(args, settings.write_timeout_s)
        check(args, settings)
    except NotServable as error:
        print(f"bestofn serve: {error}", file=sys.stderr)
        sys.exit(CANNOT_BE_SERVED)
    sys.exit(uvloop.run(serve(args, settings, address)))
