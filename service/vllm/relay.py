"""Candidates passed on as they grow: N = 1, or n answers without ranking. Costs one task and a queue."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import replace

from vllm.outputs import RequestOutput
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.exceptions import EngineDeadError

from service.rerank.busy_time import BusyMeter
from service.rerank.ledger import Ledger, Record
from service.rerank.plan import Plan
from service.rerank.selection import Choice
from service.rerank.strategies import Candidate

Outputs = AsyncIterator[RequestOutput]


class Relay:
    """outputs: the engine's stream. abort: makes that stream end at once with its last tokens.

    kind: whether outputs hold deltas or everything so far. score: awaited with the ledger after the last output and
    before the stream ends, where a reward was asked for. meter: charges the ledger for what is at work.
    """

    def __init__(
        self,
        plan: Plan,
        outputs: Outputs,
        abort: Callable[[], Awaitable[None]],
        kind: RequestOutputKind,
        score: Callable[[Ledger], Awaitable[None]] | None,
        meter: BusyMeter,
    ) -> None:
        self.ledger = Ledger(plan, records=[Record(Candidate(index)) for index in range(plan.n)])
        self._outputs = outputs
        self._abort = abort
        self._delta = kind == RequestOutputKind.DELTA
        self._score = score
        self._meter = meter
        self._at_work = [ExitStack() for _ in self.ledger.records]
        self._queue: asyncio.Queue[RequestOutput | Exception | None] = asyncio.Queue()
        self._pump: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    async def outputs(self) -> Outputs:
        """The engine's outputs, unchanged. Ends early, with everything aborted, when it is closed."""
        self._pump = asyncio.create_task(self._run())
        try:
            while (item := await self._queue.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
            finished = (one.index for one in self.ledger.candidates if one.state == "finished")
            self.ledger.choice = Choice(tuple(finished))
            self.ledger.stop_reason = "complete"
            if self._score is not None:
                await self._score(self.ledger)
        finally:
            await asyncio.shield(self.close())

    def close(self) -> asyncio.Task[None]:
        """End what still runs, once."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        return self._closing

    async def _close(self) -> None:
        if self._pump is not None and not self._pump.done():
            with suppress(EngineDeadError):
                await self._abort()
            await self._pump
        self.ledger.ended_s = time.monotonic()

    async def _run(self) -> None:
        for work in self._at_work:
            work.enter_context(self._meter.working("generate", self.ledger.busy_s))
        try:
            async for output in self._outputs:
                self._note(output)
                self._queue.put_nowait(output)
            self._queue.put_nowait(None)
        except Exception as error:
            self._queue.put_nowait(error)
        finally:
            for work in self._at_work:
                work.close()

    def _note(self, output: RequestOutput) -> None:
        if output.prompt_token_ids:
            self.ledger.prompt_tokens = len(output.prompt_token_ids)
            self.ledger.cached_prompt_tokens = output.num_cached_tokens or 0
        for completion in output.outputs:
            record = self.ledger.records[completion.index]
            if not self._delta:
                record.pieces.clear()
            record.pieces.append(completion.text)
            earlier = record.view.tokens if self._delta else 0
            record.view = replace(record.view, tokens=earlier + len(completion.token_ids))
            if completion.finish_reason is not None:
                self._at_work[completion.index].close()
                self.ledger.note_end(record, completion.finish_reason)
