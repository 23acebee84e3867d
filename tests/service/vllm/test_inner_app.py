"""vLLM's application behind ours: errors, model names, and what would be done twice."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from pydantic import BaseModel, Field
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from vllm.entrypoints.openai.models.protocol import BaseModelPath
from vllm.entrypoints.openai.models.serving import OpenAIServingModels
from vllm.entrypoints.serve.utils.api_utils import validate_json_request
from vllm.v1.engine.exceptions import EngineDeadError

from service.rerank.context import current_request
from service.rerank.errors import DeadlineExceeded, InvalidRequest, Overloaded
from service.vllm.inner_app import adapt
from tests.service.fakes import answers, call, is_openai_error, make_context
from tests.service.vllm.fake_engine import FakeEngine

JSON = {"content-type": "application/json"}


class Body(BaseModel):
    temperature: float = 1.0
    stop: str | list[str] = Field("", max_length=4)
    model: str | None = None


def vllm_app(*names: str, max_best_of: int = 64) -> FastAPI:
    """An application that was built already, as vLLM's is, with a route for each thing that goes wrong."""
    app = FastAPI(openapi_url=None)
    paths = [BaseModelPath(name=name, model_path=f"/{name}") for name in names]
    engine: Any = SimpleNamespace(
        model_config=SimpleNamespace(max_model_len=1), renderer=None, input_processor=None, vllm_config=None
    )
    app.state.openai_serving_models = OpenAIServingModels(engine, paths)
    app.add_middleware(CORSMiddleware, allow_origins=["https://page.example"])

    @app.get("/ours")
    async def ours() -> None:
        raise InvalidRequest("top_k: too small", param="top_k")

    @app.get("/busy")
    async def busy() -> None:
        raise Overloaded("full", retry_after_s=3)

    @app.get("/dead")
    async def dead() -> None:
        raise EngineDeadError("no core left")

    @app.get("/health")
    async def health() -> Response:
        return Response(status_code=200)

    @app.post("/tokenize", dependencies=[Depends(validate_json_request)])
    async def tokenize(body: Body) -> dict[str, Any]:
        return {"model": body.model}

    app.middleware_stack = app.build_middleware_stack()
    adapt(app, max_best_of)
    return app


# -- names of models


@pytest.mark.parametrize(
    ("max_best_of", "powers"), [(1, [1]), (2, [1, 2]), (7, [1, 2, 4]), (8, [1, 2, 4, 8]), (9, [1, 2, 4, 8])]
)
def test_each_model_is_listed_with_the_powers_of_two_that_may_be_asked_for(max_best_of: int, powers: list[int]) -> None:
    app = vllm_app("a", "b", max_best_of=max_best_of)
    first, second, *aliases = app.state.openai_serving_models.base_model_paths
    assert (first.name, second.name) == ("a", "b")
    expected = [(f"{name}:best-of-{power}", f"/{name}") for name in "ab" for power in powers]
    assert [(alias.name, alias.model_path) for alias in aliases] == expected


@pytest.mark.parametrize("name", ["a", "org/b", "org%2Fb", "a:best-of-4", "org/b:best-of-63", "lora:best-of-5", "lora"])
async def test_a_model_an_adapter_and_any_alias_of_them_can_be_retrieved(name: str) -> None:
    app = vllm_app("a", "org/b")
    lora = SimpleNamespace(lora_name="lora", path="/lora", base_model_name=None)
    app.state.openai_serving_models.lora_requests["lora"] = lora
    reply = await call(app, path=f"/v1/models/{name.replace('%2F', '/')}", method="GET")
    assert (reply.status, reply.json["id"]) == (200, name.replace("%2F", "/"))
    assert reply.json["object"] == "model"
    assert reply.json["root"] == f"/{reply.json['id'].split(':')[0]}"


@pytest.mark.parametrize(("name", "status"), [("c", 404), ("c:best-of-4", 404), ("a:best-of-65", 400)])
async def test_what_is_not_served_cannot_be_retrieved(name: str, status: int) -> None:
    reply = await call(vllm_app("a"), path=f"/v1/models/{name}", method="GET")
    assert (reply.status, reply.json["error"]["param"]) == (status, "model")
    assert is_openai_error(reply.json)


async def test_every_route_knows_aliases() -> None:
    reply = await call(vllm_app("a"), {"model": "a:best-of-12"}, path="/tokenize", headers=JSON)
    assert reply.json == {"model": "a"}


# -- errors


async def test_an_error_of_ours_has_its_own_status_and_headers() -> None:
    app = vllm_app()
    reply = await call(app, path="/ours", method="GET")
    assert (reply.status, reply.json["error"]["param"]) == (400, "top_k")
    assert is_openai_error(reply.json)
    busy = await call(app, path="/busy", method="GET")
    assert (busy.status, busy.headers["retry-after"]) == (429, "3")


@pytest.mark.parametrize("running", [False, True])
async def test_a_dead_engine_is_a_503_and_the_end_of_the_server(running: bool) -> None:
    app, engine = vllm_app(), FakeEngine()
    app.state.server, app.state.engine_client = SimpleNamespace(should_exit=False), engine
    engine.errored, engine.is_running = True, running
    reply = await call(app, path="/dead", method="GET")
    assert (reply.status, reply.json["error"]["code"]) == (503, "engine_unavailable")
    assert is_openai_error(reply.json)
    assert app.state.server.should_exit is not running


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({"temperature": "hot"}, "temperature", "valid number"),
        ({"stop": list("abcde")}, "stop", "at most 4"),
        ({"stop": ["\ud800"]}, "stop.0", "surrogate"),
        (b'{"stop": ', None, "JSON decode error"),
    ],
)
async def test_a_field_that_is_wrong_is_a_400_that_names_it(body: Any, param: str | None, message: str) -> None:
    reply = await call(vllm_app(), body, path="/tokenize", headers=JSON)
    assert (reply.status, reply.json["error"]["param"]) == (400, param)
    assert message in reply.json["error"]["message"]
    assert is_openai_error(reply.json)


@pytest.mark.parametrize("headers", [{}, {"content-type": "application/x-www-form-urlencoded"}])
async def test_a_body_that_is_not_called_json_is_a_400_in_vllms_words(headers: dict[str, str]) -> None:
    reply = await call(vllm_app(), {"stop": "a"}, path="/tokenize", headers=headers)
    assert (reply.status, is_openai_error(reply.json)) == (400, True)
    assert reply.json["error"]["message"] == "Unsupported Media Type: Only 'application/json' is allowed"


# -- twice, and not at all


async def test_rules_for_other_origins_are_left_to_us() -> None:
    reply = await call(vllm_app("a"), path="/v1/models/a", method="GET", headers={"origin": "https://page.example"})
    assert "access-control-allow-origin" not in reply.headers


async def test_head_answers_as_get() -> None:
    assert (await call(vllm_app(), path="/health", method="HEAD")).status == 200


async def test_a_stream_is_not_to_be_buffered() -> None:
    app = vllm_app()
    app.router.routes.clear()
    app.mount("/", answers(200, b"", "text/event-stream"))
    assert (await call(app)).headers["x-accel-buffering"] == "no"


@pytest.mark.parametrize(
    "logger",
    [
        "vllm.entrypoints.openai.chat_completion.serving",
        "vllm.entrypoints.openai.completion.serving",
        "vllm.entrypoints.anthropic.serving",
        "vllm.entrypoints.anthropic.api_router",
    ],
)
def test_an_answer_of_ours_leaves_no_traceback_in_the_log(logger: str, monkeypatch: pytest.MonkeyPatch) -> None:
    vllm_app()
    kept: list[logging.LogRecord] = []
    monkeypatch.setattr(logging.getLogger(logger), "callHandlers", kept.append)
    context = make_context()

    def log() -> None:
        try:
            raise ValueError("cannot read the chunk")
        except ValueError:
            logging.getLogger(logger).exception("Error in stream generator.")

    log()
    token = current_request.set(context)
    log()
    context.error = DeadlineExceeded("too late")
    log()
    logging.getLogger(logger).error("without a traceback")
    current_request.reset(token)
    assert [record.exc_info is None for record in kept] == [False, False, True]
