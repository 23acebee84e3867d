"""vLLM's application, made ready to stand behind ours: our errors, our model names, and nothing done twice.

It was built before it comes here: with `middleware_stack` set to None starlette builds it again, with what was added.
"""

import logging
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response
from vllm.entrypoints.launchers.launcher import terminate_if_errored
from vllm.entrypoints.openai.models.protocol import BaseModelPath
from vllm.entrypoints.serve import create_error_response
from vllm.v1.engine.exceptions import EngineDeadError

from service.http.error_answers import answer_service_error, error_answer
from service.http.rerank_object import RERANK_HEADERS
from service.http.validation import field_error
from service.http.vllm_front.head import HeadAsGet
from service.http.vllm_front.request_body import RequestBody
from service.http.vllm_front.stream_headers import StreamHeaders
from service.rerank.context import current_request
from service.rerank.errors import EngineDown, ServiceError
from service.rerank.request import model_behind

# What a web page of another origin may read beside the body.
EXPOSED_HEADERS = (
    "x-request-id",
    "openai-processing-ms",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
    *RERANK_HEADERS,
)
# In front of the gateway already; a second one would name `Origin` twice in `vary`.
_OURS_TOO: tuple[object, ...] = (CORSMiddleware,)
# vLLM's modules that log an error with its traceback and then make an answer of it.
_LOGGERS = (
    "vllm.entrypoints.openai.chat_completion.serving",
    "vllm.entrypoints.openai.completion.serving",
    "vllm.entrypoints.anthropic.api_router",
    "vllm.entrypoints.anthropic.serving",
)


def adapt(inner: FastAPI, max_best_of: int) -> None:
    """max_best_of: the largest N that a model alias may ask for."""
    inner.add_exception_handler(ServiceError, answer_service_error)
    inner.add_exception_handler(EngineDeadError, _engine_dead)
    inner.add_exception_handler(RequestValidationError, _name_the_field)
    _list_aliases(inner, max_best_of)
    _retrieve_models(inner, max_best_of)
    front = [Middleware(HeadAsGet), Middleware(StreamHeaders), Middleware(RequestBody, max_best_of=max_best_of)]

    inner.user_middleware = [*front, *(one for one in inner.user_middleware if one.cls not in _OURS_TOO)]
    inner.middleware_stack = None
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_is_no_answer_of_ours)


def _list_aliases(inner: FastAPI, max_best_of: int) -> None:
    """`<name>:best-of-<N>` for powers of two in /v1/models; any other N up to the maximum works too."""
    paths = inner.state.openai_serving_models.base_model_paths
    powers = [1 << power for power in range(max_best_of.bit_length())]
    aliases = [
        BaseModelPath(name=f"{path.name}:best-of-{best_of}", model_path=path.model_path)
        for path in paths
        for best_of in powers
    ]
    paths.extend(aliases)


def _retrieve_models(inner: FastAPI, max_best_of: int) -> None:
    """`GET /v1/models/{id}`: a model or adapter that is served, or an alias of it with any N up to the maximum."""

    async def model(request: Request, name: str) -> JSONResponse:
        listed = (await request.app.state.openai_serving_models.show_available_models()).data
        behind = model_behind(name, max_best_of)
        card = next((card for wanted in (name, behind) for card in listed if card.id == wanted), None)
        if card is None:
            missing = f"The model `{name}` does not exist."
            body = create_error_response(missing, "NotFoundError", HTTPStatus.NOT_FOUND, "model")
            return JSONResponse(body.model_dump(), status_code=HTTPStatus.NOT_FOUND)
        return JSONResponse(card.model_copy(update={"id": name}).model_dump())

    inner.add_api_route("/v1/models/{name:path}", model, methods=["GET"])


async def _engine_dead(request: Request, error: Exception) -> Response:
    assert isinstance(error, EngineDeadError)
    terminate_if_errored(server=request.app.state.server, engine=request.app.state.engine_client)
    return error_answer(EngineDown(reason(error)))


async def _name_the_field(_: Request, error: Exception) -> Response:
    """FastAPI's validation error as one sentence that names the field, with status 400."""
    assert isinstance(error, RequestValidationError)
    return error_answer(field_error(error.errors(), error.body))


def reason(error: EngineDeadError) -> str:
    """In words: vLLM puts a sentence about its own log before what it is given, and the text of both is a tuple's."""
    return "; ".join(map(str, error.args[1:])) or "the generation engine has died"


def _is_no_answer_of_ours(record: logging.LogRecord) -> bool:
    """A refusal of ours is an answer: where vLLM reports one as a fault, the log keeps nothing of it."""
    context = current_request.get()
    return record.exc_info is None or context is None or context.error is None
