"""An error of ours as a whole answer."""

from starlette.types import Receive, Scope, Send

from service.http.error_answers import error_answer, send_error
from service.rerank.errors import InvalidRequest, Overloaded
from tests.service.fakes import call, is_openai_error


async def test_it_has_its_status_its_headers_and_openais_shape() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send_error(send, Overloaded("full", retry_after_s=1.5))

    for answered in (app, error_answer(Overloaded("full", retry_after_s=1.5))):
        reply = await call(answered)
        assert (reply.status, reply.headers["content-type"]) == (429, "application/json")
        assert (reply.headers["retry-after-ms"], reply.headers["x-should-retry"]) == ("1500", "true")
        assert is_openai_error(reply.json)


async def test_half_of_a_surrogate_pair_can_be_named() -> None:
    reply = await call(error_answer(InvalidRequest("\ud800 is no field", param="\ud800")))
    assert reply.json["error"]["param"] == "\ud800"
