"""Input that is streamed, as /v1/realtime's is: what the generator makes of it is passed on and written down."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace

from vllm.outputs import RequestOutput
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.async_llm import AsyncLLM

from service.rerank.busy_time import BusyMeter
from service.rerank.context import RequestContext
from service.rerank.ledger import CandidateRecord, Ledger
from service.rerank.plan import make_plan
from service.rerank.selection import Choice
from service.rerank.strategies.base import Candidate
from service.vllm.sampling.sampler import EngineRequest


async def listen(
    engine: AsyncLLM, request: EngineRequest, context: RequestContext, meter: BusyMeter
) -> AsyncGenerator[RequestOutput, None]:
    """One candidate, which is at work for as long as somebody speaks.

    There is no run for it, since it ends with every piece of its input and goes on with the next. Raises what the
    request is made to fail with.
    """
    record = CandidateRecord(Candidate(0))
    plan = make_plan(context.ask, n=1, temperature=1.0, checkpoint_tokens=None)
    ledger = context.piecewise = Ledger(plan, [record])
    delta = request.params.output_kind == RequestOutputKind.DELTA
    generation = engine.generate(request.prompt, request.params, request.request_id, **request.options)
    try:
        with meter.working("generate", ledger.busy_s):
            async with aclosing(generation), aclosing(_until_failed(generation, context)) as outputs:
                async for output in outputs:
                    _note(ledger, record, output, delta=delta)
                    yield output
        if ledger.note_end(record, record.view.finish_reason or "stop") == "finished":
            ledger.choice, ledger.stop_reason = Choice((0,)), "complete"
    finally:
        if record.view.state == "running":
            ledger.note_end(record, "abort")
        ledger.ended_s = time.monotonic()


def _note(ledger: Ledger, record: CandidateRecord, output: RequestOutput, *, delta: bool) -> None:
    tokens = sum(len(completion.token_ids) for completion in output.outputs)
    reason = output.outputs[-1].finish_reason if output.outputs else None
    record.view = replace(record.view, tokens=record.view.tokens * delta + tokens, finish_reason=reason)
    ledger.prompt_tokens = max(ledger.prompt_tokens, len(output.prompt_token_ids or ()))


async def _until_failed(
    outputs: AsyncIterator[RequestOutput], context: RequestContext
) -> AsyncGenerator[RequestOutput, None]:
    """The outputs, until the request is made to fail."""
    failing = asyncio.create_task(context.until_failed())
    try:
        while True:
            growing = asyncio.ensure_future(anext(outputs, None))
            try:
                await asyncio.wait([growing, failing], return_when=asyncio.FIRST_COMPLETED)
                if failing.done():
                    failing.result()
                output = growing.result()
            finally:
                growing.cancel()
                await asyncio.wait([growing])
            if output is None:
                return
            yield output
    finally:
        failing.cancel()
