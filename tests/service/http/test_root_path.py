"""Behind a proxy's prefix everything below still finds its paths."""

from tests.service.fakes import answers, call
from tests.service.http.served import app_over


async def test_below_a_root_path_the_gateway_still_sees_its_endpoints() -> None:
    app = app_over(answers(200, {"choices": []}), root_path="/api")
    reply = await call(app, {"best_of": "four"}, path="/api/v1/chat/completions")
    assert (reply.status, reply.json["error"]["param"]) == (400, "best_of")
