"""Starting the two engines: the generator, and the reward model beside it."""

import asyncio
import multiprocessing
import os
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from transformers import PreTrainedTokenizerBase
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.platforms import current_platform
from vllm.usage.usage_lib import UsageContext
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.metrics.loggers import StatLoggerFactory

from reward.config import RewardConfig
from reward.scorer import Scorer
from reward.template import ConversationTemplate
from reward.torch_scorer import TorchScorer
from reward.vllm_scorer import VllmScorer
from service.settings import Settings
from service.vllm.engine_load import EngineLoad, Unregistered
from service.vllm.life.engine_process import cause, end_engines, watched

_BIND = "VLLM_CPU_OMP_THREADS_BIND"
_SPAWN_POLL_S, _SPAWN_POLLS = 0.05, 2400
_END_S = 0.5


class StartFailed(RuntimeError):
    """An engine could not be started. The message names it and the root cause."""


@dataclass(frozen=True)
class Engines:
    """What has been started. scorer: None where no reward model is served.

    loads: of those that are vLLM engines and keep statistics, by name.
    """

    generator: AsyncLLM
    scorer: Scorer | None
    loads: Mapping[str, EngineLoad]

    async def close(self) -> None:
        """End both at once; nothing of them is left when this returns."""
        ending = asyncio.to_thread(self.generator.shutdown, _END_S)
        scorers = [] if self.scorer is None else [self.scorer.close()]
        await asyncio.gather(ending, *scorers, return_exceptions=True)
        end_engines()


async def start_engines(args: Namespace, settings: Settings) -> Engines:
    """The generator, and the scorer where a reward model is served.

    Where one fails, the other is ended at once, and StartFailed is raised.
    """
    with watched() as first_report:
        try:
            return await _start_both(args, settings)
        except Exception as error:
            end_engines()
            raise StartFailed(_reason(error, first_report())) from error


def _reason(error: Exception, reported: str | None) -> str:
    """What an engine's process has reported of itself is nearer to the cause than what this process saw of it."""
    failed = next((note for note in getattr(error, "__notes__", ())), "an engine")
    return f"{failed} did not start: {reported or cause(error)}"


async def _start_both(args: Namespace, settings: Settings) -> Engines:
    """The generator and the scorer.

    On a GPU one after the other, since vLLM measures the memory of the whole device while it starts. On a CPU at the
    same time, and each engine gets its own half of the cores; vLLM's own choice would put both on the first.
    """
    generator_args = _generator_args(args)
    loads = {} if generator_args.disable_log_stats else {"generator": EngineLoad()}
    loggers: list[StatLoggerFactory] = [load.logger for load in loads.values()]
    if settings.reward_model is None:
        return Engines(await _start_on(None, _generator(args), generator_args, loggers), None, loads)
    if settings.reward_backend == "torch":
        with _naming(_reward_model(settings)):
            torch_scorer = TorchScorer(
                settings.reward_model, device=settings.reward_device, dtype=settings.reward_dtype
            )
        return Engines(await _start_on(None, _generator(args), generator_args, loggers), torch_scorer, loads)
    with _naming(_reward_model(settings)):
        reward_args = reward_engine_args(settings)
        reward_args.shutdown_timeout = args.shutdown_timeout  # a signal may reach the engines too
    halves = _core_halves()
    generator = _start_on(halves[0], _generator(args), generator_args, loggers)
    await (_until_spawned(generator) if current_platform.is_cpu() else generator)
    loads["reward"] = EngineLoad()
    reward_loggers: list[StatLoggerFactory] = [Unregistered, loads["reward"].logger]
    reward_model = _start_on(halves[1], _reward_model(settings), reward_args, reward_loggers)
    engine, reward_engine = await asyncio.gather(generator, reward_model)
    with _naming(_reward_model(settings)):
        return Engines(engine, await scorer_of(reward_engine), loads)


def _generator(args: Namespace) -> str:
    return f"the generator {args.model}"


def _reward_model(settings: Settings) -> str:
    return f"the reward model {settings.reward_model}"


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Whatever goes wrong within is noted to be of that engine."""
    try:
        yield
    except Exception as error:
        error.add_note(name)
        raise


def _generator_args(args: Namespace) -> AsyncEngineArgs:
    """vLLM 0.32 on a CPU dies ("CPU Generator does not use offset") when the prefill of a seeded request is split
    over two steps, so there prefills are not split unless the user says so.
    """
    engine_args: AsyncEngineArgs = AsyncEngineArgs.from_cli_args(args)
    if current_platform.is_cpu() and engine_args.enable_chunked_prefill is None:
        engine_args.enable_chunked_prefill = False
    return engine_args


async def scorer_of(engine: AsyncLLM) -> VllmScorer:
    """The scorer over a started reward engine."""
    await engine.get_supported_tasks()
    template = ConversationTemplate(cast(PreTrainedTokenizerBase, engine.get_tokenizer()))
    return VllmScorer(engine, template, RewardConfig.of(engine.model_config.hf_config))


def reward_engine_args(settings: Settings) -> AsyncEngineArgs:
    """vLLM's arguments for the reward model, from our settings."""
    given: dict[str, Any] = {
        "model": settings.reward_model,
        "runner": "pooling",
        "dtype": _reward_dtype(settings),
        "gpu_memory_utilization": settings.reward_gpu_memory_utilization,
        "disable_log_stats": True,  # into vLLM's own metrics; see `Unregistered`
        **settings.reward_engine_args,
    }
    return AsyncEngineArgs(**given)


def _reward_dtype(settings: Settings) -> str:
    """vLLM's "auto" would halve a float32 checkpoint's precision, which on a CPU gains nothing."""
    on_cpu = settings.reward_dtype == "auto" and current_platform.is_cpu()
    return "float32" if on_cpu else settings.reward_dtype


def _start_on(
    cores: str | None, name: str, engine_args: AsyncEngineArgs, loggers: list[StatLoggerFactory]
) -> "asyncio.Task[AsyncLLM]":
    """Start an engine in a thread. Its processes read the binding when they are spawned."""
    if cores is not None:
        os.environ[_BIND] = cores
    start = partial(AsyncLLM.from_engine_args, usage_context=UsageContext.OPENAI_API_SERVER, stat_loggers=loggers)

    async def started() -> AsyncLLM:
        with _naming(name):
            return await asyncio.to_thread(start, engine_args)

    return asyncio.create_task(started())


async def _until_spawned(engine: "asyncio.Task[AsyncLLM]") -> None:
    """Until the engine's process exists, so that the next one can be given other cores."""
    for _ in range(_SPAWN_POLLS):
        if multiprocessing.active_children() or engine.done():
            return
        await asyncio.sleep(_SPAWN_POLL_S)


def _core_halves() -> tuple[str | None, str | None]:
    """Core lists for two engines; None where vLLM should choose: on a GPU, on one core, or when the user has."""
    cores = sorted(os.sched_getaffinity(0))
    if not current_platform.is_cpu() or _BIND in os.environ or len(cores) < 2:
        return None, None
    middle = len(cores) // 2
    return _listed(cores[:middle]), _listed(cores[middle:])


def _listed(cores: list[int]) -> str:
    return ",".join(map(str, cores))
