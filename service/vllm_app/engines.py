"""Starting the two engines: the generator, and the reward model beside it."""

import asyncio
import multiprocessing
import os
from argparse import Namespace
from typing import Any, cast

from transformers import PreTrainedTokenizerBase
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.platforms import current_platform
from vllm.usage.usage_lib import UsageContext
from vllm.v1.engine.async_llm import AsyncLLM

from reward.model import RewardConfig
from reward.scorer import Scorer
from reward.template import ConversationTemplate
from reward.torch_scorer import TorchScorer
from reward.vllm_scorer import VllmScorer
from service.settings import Settings

_BIND = "VLLM_CPU_OMP_THREADS_BIND"
_SPAWN_POLL_S, _SPAWN_POLLS = 0.05, 2400


async def start_engines(args: Namespace, settings: Settings) -> tuple[AsyncLLM, Scorer]:
    """The generator and the scorer.

    On a GPU one after the other, since vLLM measures the memory of the whole device while it starts. On a CPU at the
    same time, and each engine gets its own half of the cores; vLLM's own choice would put both on the first.
    """
    assert settings.reward_model is not None
    generator_args = _generator_args(args)
    if settings.reward_backend == "torch":
        scorer: Scorer = TorchScorer(settings.reward_model, device=settings.reward_device, dtype=settings.reward_dtype)
        return await asyncio.to_thread(_start, generator_args, UsageContext.OPENAI_API_SERVER), scorer
    halves = _core_halves()
    generator = _start_on(halves[0], generator_args, UsageContext.OPENAI_API_SERVER)
    await (_until_spawned(generator) if current_platform.is_cpu() else generator)
    reward_model = _start_on(halves[1], reward_engine_args(settings), UsageContext.ENGINE_CONTEXT)
    engine, reward_engine = await asyncio.gather(generator, reward_model)
    return engine, await scorer_of(reward_engine)


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
        "disable_log_stats": True,  # a second engine that logs would unregister the generator's metrics
        **settings.reward_engine_args,
    }
    return AsyncEngineArgs(**given)


def _reward_dtype(settings: Settings) -> str:
    """vLLM's "auto" would halve a float32 checkpoint's precision, which on a CPU gains nothing."""
    on_cpu = settings.reward_dtype == "auto" and current_platform.is_cpu()
    return "float32" if on_cpu else settings.reward_dtype


def _start_on(cores: str | None, engine_args: AsyncEngineArgs, usage: UsageContext) -> "asyncio.Task[AsyncLLM]":
    """Start an engine in a thread. Its processes read the binding when they are spawned."""
    if cores is not None:
        os.environ[_BIND] = cores
    return asyncio.create_task(asyncio.to_thread(_start, engine_args, usage))


def _start(engine_args: AsyncEngineArgs, usage: UsageContext) -> AsyncLLM:
    return AsyncLLM.from_engine_args(engine_args, usage_context=usage)


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
