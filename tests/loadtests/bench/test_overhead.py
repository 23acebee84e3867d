import pytest

from loadtests.bench.overhead import Asked
from measuring.client import connect
from measuring.server_process import ServerFailed
from tests.training.openai_endpoint import completion, refusal, serving


async def test_no_sum_is_asked_twice_and_all_answers_are_equally_long() -> None:
    with serving(lambda body: (200, completion("x"))) as there:
        async with connect(there.url, clients=2) as client:
            asked = Asked(client)
            alone, many = await asked.load({"best_of": 2}, 3), await asked.load({"n": 2}, 4, 2)
    assert (len(alone.latencies_s), len(many.latencies_s)) == (3, 4)
    assert len({body["messages"][0]["content"] for body in there.requests}) == 7
    assert all((body["max_tokens"], body["ignore_eos"]) == (64, True) for body in there.requests)
    assert [body.get("best_of", body.get("n")) for body in there.requests] == [2] * 7


async def test_a_request_that_fails_is_no_measurement() -> None:
    with serving(lambda body: (400, refusal("no"))) as there:
        async with connect(there.url, clients=1) as client:
            with pytest.raises(ServerFailed, match="1 of 1 requests failed, the first: HTTP 400: no"):
                await Asked(client).load({}, 1)
