"""Which engines are started, with which arguments, on which cores. None is."""

import asyncio
import multiprocessing
import os
from argparse import Namespace
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Literal, cast

import pytest
from transformers import PreTrainedTokenizerFast
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.platforms import current_platform
from vllm.usage.usage_lib import UsageContext

from reward.config import RewardConfig
from reward.vllm_scorer import VllmScorer
from service.settings import Settings
from service.vllm import engines
from service.vllm.engine_load import Unregistered
from service.vllm.engines import Engines, StartFailed, reward_engine_args, scorer_of, start_engines
from training.labs.tokenizer import byte_tokenizer

BIND = "VLLM_CPU_OMP_THREADS_BIND"
OnCores = Callable[..., None]


@pytest.fixture
def on_cores(monkeypatch: pytest.MonkeyPatch) -> OnCores:
    """A machine of these cores, without a GPU unless it is said to have one."""

    def do(*cores: int, gpu: bool = False) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(cores))
        monkeypatch.setattr(current_platform, "is_cpu", lambda: not gpu, raising=False)
        monkeypatch.delenv(BIND, raising=False)

    monkeypatch.setenv(BIND, "")  # whatever is set to it is undone
    return do


class Started:
    """Stands for `AsyncLLM`; an engine's processes appear shortly after its start began."""

    begun: list["Started"]
    children: list[object]

    def __init__(self, args: AsyncEngineArgs, loggers: list[Any]) -> None:
        self.args, self.loggers, self.cores = args, loggers, os.environ.get(BIND)
        self.children_before = len(self.children)
        self.begun.append(self)
        self.children.append(self)
        config = SimpleNamespace(num_labels=1, bestofn={"mean": 1.0, "std": 2.0})
        self.model_config = SimpleNamespace(max_model_len=64, hf_config=config)
        self.asked_for_tasks = False

    @classmethod
    def from_engine_args(
        cls, args: AsyncEngineArgs, *, usage_context: UsageContext, stat_loggers: list[Any]
    ) -> "Started":
        assert usage_context is UsageContext.OPENAI_API_SERVER
        return cls(args, stat_loggers)

    def shutdown(self, timeout_s: float) -> None:
        self.ended = True
        self.children.remove(self)

    def get_tokenizer(self) -> PreTrainedTokenizerFast:
        return byte_tokenizer()

    async def get_supported_tasks(self) -> tuple[str, ...]:
        self.asked_for_tasks = True
        return ("classify",)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[Started]:
    """The engines that are started, in order."""
    Started.begun, Started.children = [], []
    monkeypatch.setattr(engines, "AsyncLLM", Started)
    monkeypatch.setattr(multiprocessing, "active_children", lambda: Started.children)
    monkeypatch.setattr(engines, "_SPAWN_POLL_S", 0.001)
    return Started.begun


def arguments(**changes: Any) -> Namespace:
    return Namespace(**{**vars(AsyncEngineArgs(model="policy")), **changes})


async def start(settings: Settings, **changes: Any) -> Engines:
    async with asyncio.timeout(10):
        return await start_engines(arguments(**changes), settings)


# -- arguments


def test_the_reward_model_pools_and_keeps_out_of_vllms_metrics(on_cores: OnCores) -> None:
    on_cores(0, 1, gpu=True)
    args = reward_engine_args(Settings(reward_model="judge", reward_gpu_memory_utilization=0.2))
    assert (args.model, args.runner, args.disable_log_stats) == ("judge", "pooling", True)
    assert (args.gpu_memory_utilization, args.dtype) == (0.2, "auto")


def test_what_the_user_gives_the_reward_engine_is_its_own(on_cores: OnCores) -> None:
    on_cores(0)
    args = reward_engine_args(Settings(reward_model="judge", reward_engine_args={"max_model_len": 99}))
    assert args.max_model_len == 99


@pytest.mark.parametrize(
    ("asked", "gpu", "dtype"),
    [
        ("auto", False, "float32"),
        ("auto", True, "auto"),
        ("bfloat16", False, "bfloat16"),
        ("bfloat16", True, "bfloat16"),
    ],
)
def test_on_a_cpu_the_reward_model_keeps_its_precision(
    on_cores: OnCores, asked: Literal["auto", "bfloat16"], gpu: bool, dtype: str
) -> None:
    on_cores(0, gpu=gpu)
    assert reward_engine_args(Settings(reward_model="judge", reward_dtype=asked)).dtype == dtype


@pytest.mark.parametrize(
    ("asked", "gpu", "split"),
    [(None, False, False), (None, True, None), (True, False, True), (False, True, False)],
)
async def test_on_a_cpu_prefills_are_not_split_unless_the_user_says_so(
    on_cores: OnCores, begun: list[Started], asked: bool | None, gpu: bool, split: bool | None
) -> None:
    on_cores(0, gpu=gpu)
    await start(Settings(reward_model="judge"), enable_chunked_prefill=asked)
    assert begun[0].args.enable_chunked_prefill is split


# -- cores


@pytest.mark.parametrize(
    ("cores", "halves"),
    [((0, 1), ("0", "1")), ((7, 3, 5), ("3", "5,7")), ((4, 1, 2, 3), ("1,2", "3,4"))],
)
async def test_on_a_cpu_each_engine_gets_its_half_of_the_cores(
    on_cores: OnCores, begun: list[Started], cores: tuple[int, ...], halves: tuple[str, str]
) -> None:
    """The binding is read when processes are spawned, so the generator's have to be there before it changes."""
    on_cores(*cores)
    await start(Settings(reward_model="judge"))
    assert [(one.args.model, one.cores) for one in begun] == [("policy", halves[0]), ("judge", halves[1])]
    assert [one.children_before for one in begun] == [0, 1]


@pytest.mark.parametrize(("cores", "gpu"), [((0, 1, 2, 3), True), ((5,), False)], ids=["gpu", "one-core"])
async def test_elsewhere_vllm_chooses(
    on_cores: OnCores, begun: list[Started], cores: tuple[int, ...], gpu: bool
) -> None:
    on_cores(*cores, gpu=gpu)
    await start(Settings(reward_model="judge"))
    assert [one.cores for one in begun] == [None, None]


async def test_what_the_user_binds_stays(
    on_cores: OnCores, begun: list[Started], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_cores(0, 1)
    monkeypatch.setenv(BIND, "1")
    await start(Settings(reward_model="judge"))
    assert [one.cores for one in begun] == ["1", "1"]


# -- what has been started


async def test_both_engines_report_their_load_and_only_the_generators_is_vllms_metric(
    on_cores: OnCores, begun: list[Started]
) -> None:
    on_cores(0, 1)
    started = await start(Settings(reward_model="judge"))
    generator, judge = begun
    assert started.generator is cast(object, generator)
    assert list(started.loads) == ["generator", "reward"]
    assert generator.loggers == [started.loads["generator"].logger]
    assert judge.loggers == [Unregistered, started.loads["reward"].logger]


async def test_a_generator_without_statistics_has_no_load(on_cores: OnCores, begun: list[Started]) -> None:
    on_cores(0, 1)
    started = await start(Settings(reward_model="judge"), disable_log_stats=True)
    assert (list(started.loads), begun[0].loggers) == (["reward"], [])


async def test_with_the_torch_backend_there_is_one_engine_on_all_cores(
    on_cores: OnCores, begun: list[Started], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_cores(0, 1)
    monkeypatch.setattr(engines, "TorchScorer", lambda model, **options: (model, options))
    settings = Settings(reward_model="judge", reward_backend="torch", reward_device="cpu", reward_dtype="bfloat16")
    started = await start(settings)
    assert cast(object, started.scorer) == ("judge", {"device": "cpu", "dtype": "bfloat16"})
    assert ([one.cores for one in begun], list(started.loads)) == ([None], ["generator"])


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize(
    ("broken", "named"), [("policy", "the generator policy did not"), ("judge", "the reward model judge did not")]
)
async def test_where_one_engine_cannot_start_the_other_is_ended_and_the_cause_is_named(
    on_cores: OnCores, begun: list[Started], monkeypatch: pytest.MonkeyPatch, broken: str, named: str, gpu: bool
) -> None:
    on_cores(0, 1, gpu=gpu)
    start_one, ended = Started.from_engine_args, []

    def fail(args: AsyncEngineArgs, **options: Any) -> Started:
        if args.model == broken:
            raise RuntimeError("see above") from OSError("no such model")
        return start_one(args, **options)

    monkeypatch.setattr(Started, "from_engine_args", fail)
    monkeypatch.setattr(engines, "end_engines", lambda: ended.append(True))
    with pytest.raises(StartFailed, match=f"{named} start: OSError: no such model"):
        await start(Settings(reward_model="judge"))
    assert ended


@pytest.mark.parametrize("backend", ["vllm", "torch"])
async def test_a_reward_model_that_cannot_be_read_after_its_start_is_named(
    on_cores: OnCores, begun: list[Started], monkeypatch: pytest.MonkeyPatch, backend: Any
) -> None:
    on_cores(0, 1)

    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("no chat template")

    monkeypatch.setattr(engines, "ConversationTemplate" if backend == "vllm" else "TorchScorer", fail)
    monkeypatch.setattr(engines, "end_engines", lambda: None)
    with pytest.raises(StartFailed, match="the reward model judge did not start: ValueError: no chat template"):
        await start(Settings(reward_model="judge", reward_backend=backend))


async def test_a_scorer_reads_the_checkpoints_config_and_length(begun: list[Started]) -> None:
    engine = Started(AsyncEngineArgs(model="judge"), [])
    scorer = await scorer_of(engine)  # type: ignore[arg-type]
    assert isinstance(scorer, VllmScorer)
    assert (scorer.config, engine.asked_for_tasks) == (RewardConfig((), 1.0, 2.0), True)
    with pytest.raises(ValueError, match="more than the reward model reads"):
        await scorer.score(scorer.template.prompt([{"role": "user", "content": "x"}]), "y" * 64)


async def test_without_a_reward_model_the_generator_is_alone_on_all_cores(
    on_cores: OnCores, begun: list[Started]
) -> None:
    on_cores(0, 1)
    started = await start(Settings())
    assert ([one.args.model for one in begun], started.scorer, list(started.loads)) == (["policy"], None, ["generator"])
    assert "VLLM_CPU_OMP_THREADS_BIND" not in os.environ
    await started.close()
    assert begun[0].ended
