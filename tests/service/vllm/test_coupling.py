"""Every coupling holds with the vLLM that is installed, and each of them can fail."""

import ast
import copy
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import vllm
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.samples import Sample
from starlette.applications import Starlette
from typer.testing import CliRunner
from vllm import LLM, envs
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.engine.protocol import EngineClient
from vllm.entrypoints.launchers.launcher import NoSignalServer
from vllm.entrypoints.openai.models.serving import OpenAIServingModels
from vllm.entrypoints.openai.responses.serving import OpenAIServingResponses
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.outputs import RequestOutput
from vllm.parser.abstract_parser import DelegatingParser
from vllm.renderers.base import BaseRenderer
from vllm.sampling_params import SamplingParams
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.core import EngineCoreProc
from vllm.v1.engine.exceptions import EngineDeadError
from vllm.v1.engine.output_processor import OutputProcessor, RequestState
from vllm.v1.engine.parallel_sampling import ParentRequest
from vllm.v1.metrics.loggers import PrometheusStatLogger, StatLoggerManager

from bestofn_server.cli import app
from service.vllm import coupling
from service.vllm.coupling import RUNNING, SERVING, TRAINING, Coupling

ROOT = Path(__file__).resolve().parent.parent.parent.parent
CHECKED = {one.name: one for one in (*SERVING, *TRAINING)}


def nothing(*_: Any, **__: Any) -> None: ...


def nothing_of_ours() -> None: ...


async def nothing_async(*_: Any, **__: Any) -> None: ...


def refuse(*_: Any, **__: Any) -> None:
    raise RuntimeError("too late")


def copied_paths(models: OpenAIServingModels, _: Any, paths: list[Any]) -> None:
    models.base_model_paths = copy.copy(paths)
    models.registry = SimpleNamespace(base_model_paths=paths)  # type: ignore[assignment]


def listed_from_registry(models: Any) -> Any:
    async def listing() -> Any:
        return SimpleNamespace(data=[SimpleNamespace(id=path.name) for path in models.registry.base_model_paths])

    return listing()


def renamed_generate(self: Any, inputs: Any, sampling_params: Any, request_id: str, **_: Any) -> None: ...


def ignoring_interval(processor: OutputProcessor, request: Any, *args: Any) -> None:
    add_request(processor, request, *args)
    processor.request_states[request.request_id].stream_interval = 1


def with_internal_id(state: RequestState, _: str, *args: Any, **options: Any) -> Any:
    return new_request_output(state, state.request_id, *args, **options)


add_request = OutputProcessor.add_request
new_request_output = RequestState._new_request_output
models_of_a_copy = (
    (OpenAIServingModels, "__init__", copied_paths),
    (OpenAIServingModels, "show_available_models", listed_from_registry),
)

# What another release might do: (class or module, name, what stands there instead).
BREAKS: dict[str, tuple[tuple[Any, str, Any], ...]] = {
    "application": (("vllm.entrypoints.launchers.launcher", "terminate_if_errored", nothing_of_ours),),
    "HTTP server": ((NoSignalServer, "startup", nothing_of_ours),),
    "engine process": ((EngineCoreProc, "run_engine_core", nothing),),
    "middleware stack": ((Starlette, "add_exception_handler", refuse),),
    "base model paths": models_of_a_copy,
    "authentication": (("vllm.entrypoints.serve.middleware.authenticate", "GUARDED_PREFIX", ("/v2",)),),
    "environment": ((envs, "environment_variables", {}),),
    "error body": ((ErrorResponse, "model_dump", lambda _: {"error": "text"}),),
    "metrics registry": (("vllm.v1.metrics.prometheus", "get_prometheus_registry", CollectorRegistry),),
    "signed histogram": ((Histogram, "_child_samples", lambda _: (Sample("_sum", {}, -3.0, None, None),)),),
    "arguments": ((AsyncEngineArgs, "__dataclass_fields__", {}),),
    "config file": ((FlexibleArgumentParser, "_pull_args_from_config", lambda _, args: args),),
    "rendered chat": ((BaseRenderer, "render_chat_async", nothing_async),),
    "answer parsers": ((DelegatingParser, "parse", lambda *_: ("text", None, [])),),
    "background responses": ((OpenAIServingResponses, "_run_background_request", nothing),),
    "engine client": ((EngineClient, "__abstractmethods__", frozenset({"generate"})),),
    "generate": ((AsyncLLM, "generate", renamed_generate),),
    "dead engine": ((EngineDeadError, "__str__", lambda _: "The server had an error"),),
    "sampling params": ((SamplingParams, "__copy__", lambda params: params),),
    "skip_clone": ((SamplingParams, "clone", lambda params: params),),
    "seeds": ((ParentRequest, "get_child_info", lambda parent, _: ("id", parent.sampling_params)),),
    "stream_interval": ((OutputProcessor, "add_request", ignoring_interval),),
    "abort": ((OutputProcessor, "abort_requests", nothing),),
    "output fields": ((RequestState, "_new_request_output", with_internal_id),),
    "adding outputs": ((RequestOutput, "add", nothing),),
    "engine": ((AsyncLLM, "get_tokenizer", nothing_async),),
    "core binding": ((envs, "environment_variables", {"VLLM_CPU_OMP_THREADS_BIND": lambda: "0"}),),
    "statistics": ((StatLoggerManager, "record", nothing),),
    "prometheus logger": ((PrometheusStatLogger, "record_weather", nothing),),
    "raw rewards": (("vllm.pooling_params", "PoolingParams", lambda **_: SimpleNamespace(use_activation=True)),),
    "new weights": ((LLM, "collective_rpc", lambda engine, method: None),),
}


@pytest.fixture
def break_it(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def do(name: str) -> None:
        for where, attribute, instead in BREAKS[name]:
            owner = import_module(where) if isinstance(where, str) else where
            monkeypatch.setattr(owner, attribute, instead, raising=False)

    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    return do


def test_all_hold_with_the_installed_release() -> None:
    assert coupling.missing_names() == []
    assert coupling.broken([*SERVING, *TRAINING]) == []
    coupling.require()


@pytest.mark.parametrize("name", CHECKED)
def test_a_broken_one_fails_with_one_sentence(name: str, break_it: Callable[[str], None]) -> None:
    broken: Coupling = CHECKED[name]
    break_it(name)
    problem = broken.problem()
    assert problem is not None
    assert "\n" not in problem
    assert problem.startswith(f"{broken.library} ")
    assert f"breaks '{name}', mend {broken.used_in}: it relies on this: {broken.promise} (" in problem


def test_the_sentence_has_the_release_in_it(break_it: Callable[[str], None]) -> None:
    break_it("abort")
    assert (CHECKED["abort"].problem() or "").startswith(f"vllm {vllm.__version__} breaks")


def test_a_name_that_is_gone_is_told_with_the_line_that_imports_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("vllm.outputs.RequestOutput")
    problem = next(line for line in coupling.missing_names() if "mend service/vllm/sampling/sampler.py line " in line)
    assert "vllm.outputs has RequestOutput" in problem
    number = int(problem.split(" line ")[1].split(":")[0])
    assert "import RequestOutput" in (ROOT / "service/vllm/sampling/sampler.py").read_text().splitlines()[number - 1]


def test_the_start_ends_with_a_line_for_each(break_it: Callable[[str], None]) -> None:
    break_it("seeds")
    break_it("authentication")
    with pytest.raises(SystemExit) as stopped:
        coupling.require()
    lines = str(stopped.value).splitlines()
    assert [line.split("'")[1] for line in lines] == ["authentication", "seeds"]


def test_without_vllm_the_start_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coupling, "find_spec", nothing)
    with pytest.raises(SystemExit, match=r"install bestofn-server\[serve\]"):
        coupling.require()


def test_serve_checks_before_anything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop() -> None:
        raise SystemExit(7)

    monkeypatch.setattr(coupling, "require", stop)
    assert CliRunner().invoke(app, ["serve", "--help=all"]).exit_code == 7


def test_files_and_tests_that_couplings_name_exist() -> None:
    names = [one.name for one in (*SERVING, *TRAINING, *RUNNING)]
    assert len(set(names)) == len(names)
    assert [one.used_in for one in (*SERVING, *TRAINING, *RUNNING) if not (ROOT / one.used_in).exists()] == []
    for file, _, function in (test.partition("::") for one in RUNNING for test in one.tests):
        found = ast.walk(ast.parse((ROOT / file).read_text()))
        functions = {node.name for node in found if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert not function or function in functions, f"{file}::{function}"
