"""HEAD answers as GET does, without a body."""

import pytest
from starlette.types import Receive, Scope, Send

from service.http.vllm_front.head import HeadAsGet
from tests.service.fakes import answers, call


async def vllm(scope: Scope, receive: Receive, send: Send) -> None:
    """As FastAPI's routes do, it knows only the methods that it names."""
    await answers(503 if scope["method"] == "GET" else 405, b"sick", **{"x-why": "tired"})(scope, receive, send)


@pytest.mark.parametrize(
    ("method", "status", "body"), [("GET", 503, b"sick"), ("HEAD", 503, b""), ("PUT", 405, b"sick")]
)
async def test_head_has_the_status_and_headers_of_get(method: str, status: int, body: bytes) -> None:
    reply = await call(HeadAsGet(vllm), method=method, path="/health")
    assert (reply.status, reply.body, reply.headers["x-why"]) == (status, body, "tired")
