"""What a signal to stop does to requests."""

import asyncio
from typing import Any

import pytest

from service.load.admission import Admission
from service.load.lifecycle import Lifecycle
from service.rerank.context import RequestContext
from service.rerank.errors import ShuttingDown
from tests.service.fakes import FREE, FakeSampler, FakeScorer, FakeVllm, make_ask, make_run, says, settle, until
from tests.service.http.served import REWARDS, Served


async def test_a_server_that_drains_begins_nothing_and_says_when_to_come_back() -> None:
    lifecycle = Lifecycle()
    lifecycle.check()
    await lifecycle.drain(60)
    with pytest.raises(ShuttingDown) as refused:
        lifecycle.check()
    assert (refused.value.headers["retry-after"], refused.value.headers["x-should-retry"]) == ("1", "true")


async def test_what_is_open_may_finish_in_its_time() -> None:
    lifecycle, context = Lifecycle(), RequestContext(make_ask(), FREE)
    with lifecycle.holds(context):
        draining = asyncio.create_task(lifecycle.drain(60))
        await settle()
        assert (draining.done(), lifecycle.draining, lifecycle.ended.is_set()) == (False, True, False)
    await draining
    assert context.error is None


async def test_what_outlives_its_time_gets_the_same_refusal() -> None:
    lifecycle = Lifecycle()
    context = RequestContext(make_ask(), FREE, runs=[make_run(FakeSampler(says("a", held=True)))])
    context.held.enter_context(lifecycle.holds(context))
    draining = asyncio.create_task(lifecycle.drain(0.01))
    with pytest.raises(ShuttingDown):
        await context.runs[0].best()
    await context.close()
    await draining
    assert isinstance(context.error, ShuttingDown)


# -- through HTTP


def held() -> FakeSampler:
    return FakeSampler(says("a", held=True), says("bb", held=True))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("scoring", [False, True])
async def test_without_time_everybody_is_refused_at_once(stream: bool, scoring: bool) -> None:
    sampler, scorer = FakeSampler(says("a"), says("bb")) if scoring else held(), FakeScorer(REWARDS)
    scorer.open.clear()
    gateway = Served(FakeVllm(lambda: sampler, scorer))
    asking = asyncio.create_task(gateway.call({"best_of": 2, "stream": stream}))
    await until(lambda: bool(scorer.asked if scoring else sampler.running))
    await gateway.lifecycle.drain(0)
    reply = await asking
    if stream:
        assert '"code":"shutting_down"' in reply.body.decode().replace('": "', '":"')
    else:
        assert (reply.status, reply.json["error"]["code"]) == (503, "shutting_down")
    assert gateway.counted("shutting_down") == 1
    assert gateway.admission.in_flight == 0


async def test_who_waits_for_a_place_is_refused_too() -> None:
    gateway = Served(FakeVllm(held), admission=Admission(1))
    gateway.admission.ticket()
    asking = asyncio.create_task(gateway.call({"best_of": 2}))
    await until(lambda: gateway.admission.queued == 1)
    await gateway.lifecycle.drain(0)
    assert (await asking).json["error"]["code"] == "shutting_down"


async def test_while_one_finishes_another_is_refused() -> None:
    sampler = held()
    gateway = Served(FakeVllm(lambda: sampler, FakeScorer(REWARDS)))
    asking = asyncio.create_task(gateway.call({"best_of": 2}))
    await until(lambda: len(sampler.running) == 2)
    draining = asyncio.create_task(gateway.lifecycle.drain(60))
    await settle()
    refused: Any = await gateway.call({"best_of": 2})
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    sampler.release(0)
    sampler.release(1)
    assert (await asking).status == 200
    await draining
