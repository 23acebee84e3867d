"""An error of ours as an HTTP answer, in OpenAI's shape: `OpenAIErrors` translates it for who speaks another."""

import json

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Send

from service.rerank.errors import ServiceError, error_body, internal_error


def error_answer(error: ServiceError) -> Response:
    """With the headers that belong to it. Its JSON is ASCII, since a message may hold half of a surrogate pair."""
    return Response(json.dumps(error_body(error)), error.status, error.headers, "application/json")


async def send_error(send: Send, error: ServiceError) -> None:
    """By the `send` of a request that has had no answer yet."""
    answer = error_answer(error)
    await send({"type": "http.response.start", "status": answer.status_code, "headers": answer.raw_headers})
    await send({"type": "http.response.body", "body": answer.body})


async def answer_service_error(_: Request, error: Exception) -> Response:
    """An application's handler of `ServiceError`."""
    assert isinstance(error, ServiceError)
    return error_answer(error)


async def answer_unexpected(_: Request, error: Exception) -> Response:
    """An application's handler of any other exception."""
    return error_answer(internal_error(error))
