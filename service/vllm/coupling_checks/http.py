"""The checks of `coupling` on vLLM's HTTP application, its command line, and the libraries under them.

Each returns whether a thing that we rely on is still so, or raises. They cost milliseconds: names, signatures, and
small functions called on made-up values. Every import of vLLM is inside a check, so that a name which is gone fails
that check and no other.
"""

import asyncio
import dataclasses
import inspect
import os
import tempfile
from collections.abc import Callable, Coroutine, Mapping
from types import SimpleNamespace
from typing import Any

_ARGUMENTS = (
    *("model", "served_model_name", "api_key", "root_path", "host", "port", "uvicorn_log_level"),
    *("disable_uvicorn_access_log", "h11_max_incomplete_event_size", "h11_max_header_count"),
    *("enable_ssl_refresh", "ssl_keyfile", "ssl_certfile", "ssl_ca_certs", "ssl_cert_reqs", "ssl_ciphers"),
    *("shutdown_timeout", "sse_keep_alive_interval", "uds", "use_tqdm_on_load"),
    *("allowed_origins", "allow_credentials", "allowed_methods", "allowed_headers"),
    *("enable_auto_tool_choice", "tool_call_parser", "runner", "dtype", "enforce_eager", "block_size"),
    *("kv_cache_memory_bytes", "gpu_memory_utilization", "enable_chunked_prefill", "disable_log_stats"),
)


def application() -> bool:
    from vllm.entrypoints.launchers.api_server.app_state import init_app_state
    from vllm.entrypoints.launchers.app import build_app
    from vllm.entrypoints.launchers.launcher import terminate_if_errored, watchdog_loop
    from vllm.entrypoints.launchers.utils.server_utils import get_uvicorn_log_config
    from vllm.reasoning import ReasoningParserManager
    from vllm.tool_parsers import ToolParserManager
    from vllm.utils.system_utils import set_ulimit

    calls: list[tuple[Callable[..., Any], tuple[str, ...], tuple[str, ...]]] = [
        (build_app, ("args", "tasks", "model_config"), ()),
        (init_app_state, ("engine", "state", "args", "tasks"), ()),
        (set_ulimit, (), ()),
        (ToolParserManager.list_registered, (), ()),
        (ReasoningParserManager.list_registered, (), ()),
        (ToolParserManager.import_tool_parser, ("path",), ()),
        (ReasoningParserManager.import_reasoning_parser, ("path",), ()),
        (watchdog_loop, ("server", "engine"), ()),
        (get_uvicorn_log_config, ("args",), ()),
        (terminate_if_errored, (), ("server", "engine")),
    ]
    for function, positional, named in calls:
        inspect.signature(function).bind(*positional, **dict.fromkeys(named))
    return all(inspect.iscoroutinefunction(function) for function in (init_app_state, watchdog_loop))


def http_server() -> bool:
    import signal

    from uvicorn import Config
    from vllm.entrypoints.launchers.launcher import NoSignalServer
    from vllm.entrypoints.launchers.utils.ssl import SSLCertRefresher

    before = signal.getsignal(signal.SIGTERM)
    server = NoSignalServer(Config(lambda: None))
    with server.capture_signals():
        untouched = signal.getsignal(signal.SIGTERM) is before
    inspect.signature(server.startup).bind(sockets=[])
    inspect.signature(SSLCertRefresher).bind(ssl_context=None, key_path=None, cert_path=None, ca_path=None)
    return untouched and not server.started and not server.should_exit


def middleware_stack() -> bool:
    from fastapi import FastAPI
    from starlette.responses import Response

    async def fail() -> None:
        raise LookupError

    async def handle(*_: Any) -> Response:
        return Response(status_code=418)

    app = FastAPI(openapi_url=None)
    app.add_api_route("/", fail)
    app.middleware_stack = app.build_middleware_stack()
    app.add_exception_handler(LookupError, handle)
    app.middleware_stack = None
    return _status(app, "/") == 418


def base_model_paths() -> bool:
    from vllm.entrypoints.openai.models.protocol import BaseModelPath
    from vllm.entrypoints.openai.models.serving import OpenAIServingModels

    engine: Any = SimpleNamespace(
        model_config=SimpleNamespace(max_model_len=1), renderer=None, input_processor=None, vllm_config=None
    )
    models = OpenAIServingModels(engine, [BaseModelPath(name="a", model_path="path")])
    models.base_model_paths.extend([BaseModelPath(name="b", model_path="path")])
    return [card.id for card in result(models.show_available_models()).data] == ["a", "b"]


def background_responses() -> bool:
    from vllm.entrypoints.openai.responses.serving import OpenAIServingResponses as Serving

    replaced = ("_run_background_request", "_run_background_request_stream", "responses_background_stream_generator")
    stores = {"response_store", "response_store_lock", "event_store"}
    methods = [getattr(Serving, name) for name in replaced]
    coroutines = all(map(inspect.iscoroutinefunction, methods[:2]))
    return coroutines and inspect.isasyncgenfunction(methods[2]) and stores <= {*Serving.__init__.__code__.co_names}


def authentication() -> bool:
    from starlette.responses import Response
    from vllm.entrypoints.serve.middleware.authenticate import AuthenticationMiddleware

    app = AuthenticationMiddleware(Response(), tokens=["key"])
    wrong, right = (
        _status(app, "/proxy/v1/models", root_path="/proxy", headers={"authorization": f"Bearer {key}"})
        for key in ("guess", "key")
    )
    return (wrong, right) == (401, 200)


def error_body() -> bool:
    from vllm.entrypoints.serve.engine.protocol import ErrorInfo, ErrorResponse

    error = ErrorResponse(error=ErrorInfo(message="text", type="kind", code=400)).model_dump()["error"]
    return (error["message"], error["type"], error["param"]) == ("text", "kind", None)


def metrics_registry() -> bool:
    from prometheus_client import REGISTRY
    from vllm.v1.metrics.prometheus import get_prometheus_registry

    return get_prometheus_registry() is REGISTRY or "PROMETHEUS_MULTIPROC_DIR" in os.environ


def signed_histogram() -> bool:
    from prometheus_client import CollectorRegistry

    from service.observe.metrics import SignedHistogram

    registry = CollectorRegistry()
    SignedHistogram("reward", "text", ["which"], buckets=(-1, 1), registry=registry).labels("best").observe(-3)
    samples = [sample for metric in registry.collect() for sample in metric.samples]
    return [sample.value for sample in samples if sample.name == "reward_sum"] == [-3]


def arguments() -> bool:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.launchers.cli_args import FrontendArgs

    known = {field.name for cls in (FrontendArgs, AsyncEngineArgs) for field in dataclasses.fields(cls)}
    if missing := set(_ARGUMENTS) - known:
        raise AttributeError(f"no {', '.join(sorted(missing))}")
    return AsyncEngineArgs.enable_chunked_prefill is None


def config_file() -> bool:
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = FlexibleArgumentParser()
    serve = parser.add_subparsers().add_parser("serve")
    serve.add_argument("model_tag", nargs="?")
    serve.add_argument("--best-of", type=int)
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write("best_of: 3\n")
        file.flush()
        args = parser.parse_args(["serve", "model", "--config", file.name])
    return (args.model_tag, args.best_of) == ("model", 3)


def environment() -> bool:
    from vllm import envs

    return {"VLLM_API_KEY", "VLLM_HTTP_TIMEOUT_KEEP_ALIVE"} <= envs.environment_variables.keys()


def rendered_chat() -> bool:
    from vllm.renderers.base import BaseRenderer
    from vllm.renderers.params import ChatParams, TokenizeParams

    async def render(messages: Any, *_: Any) -> Any:
        return messages, {"prompt": "rendered"}

    async def as_it_is(prompt: Any, *_: Any, **__: Any) -> Any:
        return prompt

    renderer: Any = SimpleNamespace(
        render_messages_async=render,
        tokenize_prompts_async=as_it_is,
        process_for_engine_async=as_it_is,
        _apply_prompt_extras=lambda *_: None,
    )
    messages: Any = [{"role": "user", "content": "question"}]
    params, tokens = ChatParams(chat_template_kwargs={"continue_final_message": True}), TokenizeParams(None)
    rendered = BaseRenderer.render_chat_async(renderer, [messages], params, tokens)
    conversations, (prompt,) = result(rendered)
    plain = (tokens.truncate_prompt_tokens, tokens.add_special_tokens, params.tool_choice) == (None, True, None)
    return list(conversations) == [messages] and isinstance(prompt, dict) and plain


def answer_parsers() -> bool:
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.parser import ParserManager
    from vllm.parser.abstract_parser import DelegatingParser
    from vllm.reasoning.identity_reasoning_parser import IdentityReasoningParser

    options = ("tool_parser_name", "reasoning_parser_name", "enable_auto_tools", "model_name")
    inspect.signature(ParserManager.get_parser).bind(**dict.fromkeys(options))

    class Parser(DelegatingParser):
        reasoning_parser_cls = IdentityReasoningParser

    tokenizer: Any = "any"
    parser = Parser(tokenizer, None, model_config=None, chat_template_kwargs={})
    request = ChatCompletionRequest.model_validate({"messages": [{"role": "user", "content": ""}]})
    reasoning, content, calls = parser.parse("text", request, False)
    return (reasoning, content, calls or []) == (None, "text", [])


def result(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Of a coroutine, in a loop of its own that does not become the thread's."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(coroutine)


def _status(app: Any, path: str, *, root_path: str = "", headers: Mapping[str, str] | None = None) -> int:
    """The status with which an ASGI application answers a GET."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    scope = {"type": "http", "method": "GET", "path": path, "root_path": root_path, "query_string": b"", "headers": raw}
    result(app(scope, receive, send))
    return int(sent[0]["status"])
