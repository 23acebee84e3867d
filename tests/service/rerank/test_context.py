"""One request from admission to its record: whatever it started has ended, and its places are free."""

import asyncio
from typing import Any

import anyio
import pytest

from service.load.admission import Admission
from service.rerank.context import RequestContext
from service.rerank.errors import ShuttingDown
from service.rerank.ledger import Ledger
from service.rerank.plan import Plan
from service.rerank.prices import HourlyPrice
from tests.service.fakes import FREE, FakeSampler, cancelled, make_ask, make_context, make_run, plan_for, says, settle
from tests.service.rerank.runs import states

pytestmark = pytest.mark.usefixtures("nothing_is_left_running")


async def test_cancelling_again_and_again_does_not_stop_the_clean_up() -> None:
    sampler = FakeSampler(says("a", held=True), says("b", held=True))
    sampler.may_abort.clear()
    run = make_run(sampler)
    task = asyncio.create_task(run.best())
    await settle()
    task.cancel()
    run.close()
    for _ in range(3):
        closing = asyncio.create_task(RequestContext(make_ask(), FREE, runs=[run]).close())
        await settle()
        await cancelled(closing)
    assert task.cancelled()
    assert sampler.running == {0, 1}
    sampler.may_abort.set()
    await asyncio.wait([run.close()])
    assert (states(run), sampler.running) == (["aborted", "aborted"], set())
    assert (run.ledger.prompt_tokens, run.ledger.cached_prompt_tokens) == (5, 2)  # whoever left, the prompt was read


async def test_an_anyio_scope_cannot_stop_the_clean_up() -> None:
    sampler = FakeSampler(says("a", held=True), says("b", held=True))
    sampler.may_abort.clear()
    run = make_run(sampler)
    with anyio.move_on_after(0.01):
        await run.best()
    run.close()
    with anyio.move_on_after(0.01):
        await RequestContext(make_ask(), FREE, runs=[run]).close()
    sampler.may_abort.set()
    await asyncio.wait([run.close()])
    assert (states(run), sampler.running) == (["aborted", "aborted"], set())


async def test_cancelling_the_end_of_a_request_does_not_stop_the_clean_up() -> None:
    sampler = FakeSampler(says("a", held=True))
    sampler.may_abort.clear()
    run = make_run(sampler, plan=plan_for(1))
    context = RequestContext(make_ask(), FREE, runs=[run])
    best_of_run = asyncio.create_task(run.best())
    await settle()
    closing = asyncio.create_task(context.close())
    await settle()
    closing.cancel()
    await settle()
    sampler.may_abort.set()
    await settle()
    left = set(sampler.running)
    sampler.release(0)
    await cancelled(best_of_run)
    await asyncio.gather(closing, return_exceptions=True)
    assert left == set()


def context_of(*plans: Plan, best_of: int = 4) -> RequestContext:
    ask = make_ask({"best_of": best_of, "prompt": ["p"] * len(plans)}, endpoint="completions")
    return make_context(*map(Ledger, plans), ask=ask)


def test_its_n_is_what_was_planned_or_what_was_admitted_where_nothing_was() -> None:
    assert context_of(plan_for(2), plan_for(3)).best_of == 3
    assert make_context(ask=make_ask({"best_of": 4})).best_of == 4


def test_it_is_as_admitted_while_its_plans_fill_its_places() -> None:
    assert context_of(plan_for(4), plan_for(4)).as_admitted
    assert not context_of(plan_for(4), plan_for(1)).as_admitted


def test_it_costs_nothing_that_is_known_where_there_are_no_prices() -> None:
    context = make_context(Ledger(plan_for(2), busy_s={"generate": 3.0, "score": 1.0}))
    assert context.cost(context.ledgers) is None
    context.prices = HourlyPrice(3600)
    assert context.cost(context.ledgers) == {"generate": 3.0, "score": 1.0}


async def test_its_places_are_given_back_after_its_candidates_have_ended() -> None:
    admission, sampler = Admission(2), FakeSampler(says("a", held=True), says("b", held=True))
    sampler.may_abort.clear()
    ticket = admission.ticket()
    context = RequestContext(make_ask(), ticket, runs=[make_run(sampler, places=ticket)])
    await settle()
    closing = [asyncio.create_task(context.close()) for _ in range(2)]
    await settle()
    assert (admission.in_flight, sampler.running) == (2, {0, 1})
    sampler.may_abort.set()
    await asyncio.gather(*closing)
    assert (admission.in_flight, sampler.running) == (0, set())


async def test_a_request_that_is_made_to_fail_keeps_the_first_error_and_fails_its_runs() -> None:
    sampler = FakeSampler(says("a", held=True), says("b", held=True))
    context = RequestContext(make_ask(), FREE, runs=[make_run(sampler)])
    await settle()
    first, second = (ShuttingDown(text, retry_after_s=1) for text in ("first", "second"))
    context.fail(first)
    context.fail(second)
    with pytest.raises(ShuttingDown, match="first"):
        await context.runs[0].best()
    assert (context.failure, sampler.running) == (first, set())
    with pytest.raises(ShuttingDown, match="first"):
        await context.until_failed()
    await context.close()


async def test_a_request_that_fails_before_it_generates_has_the_error_for_its_answer() -> None:
    context, error = RequestContext(make_ask(), FREE), ShuttingDown("now", retry_after_s=1)
    context.fail(error)
    assert (context.error, context.failure) == (error, error)


async def test_a_run_that_begins_after_its_request_has_failed_fails_too() -> None:
    sampler = FakeSampler(says("a", held=True))
    context, error = RequestContext(make_ask(), FREE), ShuttingDown("now", retry_after_s=1)
    context.fail(error)
    context.begin(make_run(sampler))
    with pytest.raises(ShuttingDown, match="now"):
        await context.runs[0].best()
    assert sampler.running == set()
    await context.close()


async def test_a_run_that_is_over_keeps_its_answer_when_its_request_fails() -> None:
    context = RequestContext(make_ask(), FREE, runs=[make_run(FakeSampler(says("a"), says("b")))])
    await context.runs[0].best()
    context.fail(ShuttingDown("too late", retry_after_s=1))
    assert (context.error, await context.runs[0].best()) == (None, (0,))


@pytest.mark.parametrize(
    ("body", "endpoint", "held"),
    [({}, "chat", False), ({"prompt": ["a", "b"]}, "completions", True), ({"use_beam_search": True}, "chat", True)],
    ids=["one-prompt", "one-of-two-prompts", "a-step-of-beams"],
)
async def test_what_it_holds_of_the_server_ends_with_the_last_of_its_runs(
    body: dict[str, Any], endpoint: str, held: bool
) -> None:
    released: list[str] = []
    context = RequestContext(make_ask(body, endpoint=endpoint), FREE)
    context.held.callback(released.append, "load")
    context.begin(make_run(FakeSampler(says("a"))))
    await context.runs[0].best()
    await settle()
    assert released == ([] if held else ["load"])
    await context.close()
    assert released == ["load"]
