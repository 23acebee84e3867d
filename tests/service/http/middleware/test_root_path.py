"""Behind a proxy's prefix everything below still finds its paths."""

import pytest
from starlette.types import Receive, Scope, Send

from service.http.middleware.root_path import RootPath
from tests.service.fakes import answers, call
from tests.service.http.served import app_over


async def test_below_a_root_path_the_gateway_still_sees_its_endpoints() -> None:
    app = app_over(answers(200, {"choices": []}), root_path="/api")
    reply = await call(app, {"best_of": "four"}, path="/api/v1/chat/completions")
    assert (reply.status, reply.json["error"]["param"]) == (400, "best_of")


@pytest.mark.parametrize(("prefix", "told"), [("/api", "/api"), ("", "/of-the-server")])
async def test_the_prefix_given_takes_the_place_of_what_the_server_knew(prefix: str, told: str) -> None:
    seen: list[str] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["root_path"])
        await answers(200, {})(scope, receive, send)

    async def behind(scope: Scope, receive: Receive, send: Send) -> None:
        await RootPath(inner, prefix)({**scope, "root_path": "/of-the-server"}, receive, send)

    await call(behind)
    assert seen == [told]
