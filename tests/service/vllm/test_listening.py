"""Input that is streamed: passed on, and written down as one candidate."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from vllm.sampling_params import RequestOutputKind, SamplingParams

from service.rerank.context import RequestContext
from service.rerank.errors import ShuttingDown
from service.rerank.request import plain_ask
from service.vllm.listening import listen
from service.vllm.sampling.sampler import EngineRequest
from tests.service.fakes import FREE, METER, Script, says
from tests.service.vllm.fake_engine import FakeEngine


async def pieces() -> AsyncIterator[Any]:
    yield {"prompt": "hi"}


def request(kind: RequestOutputKind = RequestOutputKind.DELTA) -> EngineRequest:
    return EngineRequest(pieces(), SamplingParams(output_kind=kind), "id", {})


@pytest.mark.parametrize("kind", [RequestOutputKind.DELTA, RequestOutputKind.CUMULATIVE])
async def test_every_token_is_counted_once(kind: RequestOutputKind) -> None:
    context, engine = RequestContext(plain_ask("realtime"), FREE), FakeEngine(Script(("ab", "c")))
    outputs = [output async for output in listen(engine, request(kind), context, METER)]  # type: ignore[arg-type]
    (ledger,) = context.ledgers
    assert (len(outputs), ledger.prompt_tokens, ledger.busy_s["generate"] > 0) == (2, 3, True)
    (candidate,) = ledger.candidates
    assert (candidate.tokens, candidate.state, ledger.fate(candidate)) == (3, "finished", "returned")


async def test_a_speaker_who_leaves_has_heard_what_there_was() -> None:
    context, engine = RequestContext(plain_ask("realtime"), FREE), FakeEngine(Script(("ab", "c"), held=True))
    outputs = listen(engine, request(), context, METER)  # type: ignore[arg-type]
    await anext(outputs)
    await outputs.aclose()
    (candidate,) = context.ledgers[0].candidates
    assert (candidate.tokens, candidate.state, engine.running) == (2, "aborted", set())


async def test_what_the_engine_gives_up_was_aborted() -> None:
    context = RequestContext(plain_ask("realtime"), FREE)
    engine = FakeEngine(says("a", reason="abort"))
    async for _ in listen(engine, request(), context, METER):  # type: ignore[arg-type]
        pass
    assert context.ledgers[0].candidates[0].state == "aborted"


async def test_it_can_be_made_to_fail_while_the_speaker_is_silent() -> None:
    context, engine = RequestContext(plain_ask("realtime"), FREE), FakeEngine(Script(("a", "b"), held=True))
    outputs = listen(engine, request(), context, METER)  # type: ignore[arg-type]
    await anext(outputs)
    context.fail(ShuttingDown("now", retry_after_s=1))
    with pytest.raises(ShuttingDown):
        await anext(outputs)
    assert engine.running == set()
