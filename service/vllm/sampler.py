"""vLLM's AsyncLLM as a `Sampler`, and its outputs put together again for vLLM's own serving code."""

import asyncio
import copy
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from vllm.inputs import EngineInput
from vllm.outputs import RequestOutput
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from service.rerank.errors import EngineDown
from service.rerank.run import Draft

_NO_PROGRESS = 1 << 30


@dataclass(frozen=True)
class EngineRequest:
    """One call of `EngineClient.generate`. options: its keyword arguments.

    engine_id: our own, since `request_id` is what the client sent in `x-request-id`, and vLLM aborts all requests
    that carry the same one.
    """

    prompt: Mapping[str, Any]
    params: SamplingParams
    request_id: str
    options: Mapping[str, Any]
    engine_id: str = field(default_factory=lambda: f"bestofn-{uuid.uuid4().hex}")


class VllmSampler:
    """Candidates of one prompt as separate engine requests, so that each can be scored and aborted by itself.

    The prompt is prefilled once for all of them by vLLM's prefix cache. Candidate i is seeded with seed + i, as
    vLLM does for n > 1. checkpoint_tokens: how many tokens a running candidate grows by between two drafts.
    """

    def __init__(
        self,
        engine: AsyncLLM,
        request: EngineRequest,
        checkpoint_tokens: int | None,
    ) -> None:
        self._engine = engine
        self._request = request
        self._params = request.params
        self._interval = checkpoint_tokens or _NO_PROGRESS
        self._aborted: set[int] = set()
        self._grown = asyncio.Event()
        self.outputs: dict[int, list[RequestOutput]] = {}

    async def sample(self, index: int) -> AsyncIterator[Draft]:
        if index in self._aborted:
            yield Draft(0, "", "abort")
            return
        kept = self.outputs.setdefault(index, [])
        prompt = cast(EngineInput, self._request.prompt)
        params, engine_id = self._child_params(index), self._child_id(index)
        generation = self._engine.generate(prompt, params, engine_id, **self._request.options)
        try:
            async for output in generation:
                kept.append(output)
                self._grown.set()
                completion = output.outputs[0]
                yield Draft(len(completion.token_ids), completion.text, completion.finish_reason)
        except EngineDeadError as error:
            raise EngineDown("the generation engine has died") from error

    async def abort(self, indices: list[int]) -> None:
        self._aborted.update(indices)
        await self._engine.abort([self._child_id(index) for index in indices])

    def _child_id(self, index: int) -> str:
        return f"{self._request.engine_id}-{index}"

    def _child_params(self, index: int) -> SamplingParams:
        child = copy.copy(self._params)
        child.n = 1
        child.seed = None if self._params.seed is None else _wrapped(self._params.seed + index)
        if not self.streams:  # a stream keeps its pieces: parsers depend on them
            child.stream_interval = self._interval
        child.output_kind = RequestOutputKind.DELTA
        child.skip_clone = True
        return child

    def winners(self, selected: tuple[int, ...]) -> list[RequestOutput]:
        """The selected candidates' outputs, best first, shaped for the output kind that the request asked for.

        A stream gets the pieces as the engine gave them, a whole answer one output with all choices.
        """
        ranked = [self._renumbered(index, rank) for rank, index in enumerate(selected)]
        if self.streams:
            return [output for outputs in ranked for output in outputs]
        whole = [_merged(outputs) for outputs in ranked]
        whole[0].outputs = [output.outputs[0] for output in whole]
        return [whole[0]]

    @property
    def streams(self) -> bool:
        """Whether the request is answered piece by piece."""
        return self._params.output_kind == RequestOutputKind.DELTA

    async def follow(self, index: int, run: "asyncio.Task[Any]") -> AsyncIterator[RequestOutput]:
        """The outputs of the one candidate that will be returned, as the engine gives them, to its end or `run`'s."""
        run.add_done_callback(lambda _: self._grown.set())
        sent = 0
        while True:
            self._grown.clear()
            for output in self.outputs[index][sent:]:
                sent += 1
                yield self._renamed(output, rank=0)
                if output.finished:
                    return
            if run.done():
                return
            await self._grown.wait()

    def _renumbered(self, index: int, rank: int) -> list[RequestOutput]:
        return [self._renamed(output, rank) for output in self.outputs[index]]

    def _renamed(self, output: RequestOutput, rank: int) -> RequestOutput:
        """As the request's own: with its id, as choice number `rank`."""
        output.request_id = self._request.request_id
        output.outputs[0].index = rank
        return output

    @property
    def prompt_tokens(self) -> int:
        return next((len(output.prompt_token_ids or ()) for output in self._first_outputs()), 0)

    @property
    def cached_prompt_tokens(self) -> int:
        """Prompt tokens that the first candidate found in the prefix cache; the others share what it computed."""
        return next((output.num_cached_tokens or 0 for output in self._first_outputs()), 0)

    def _first_outputs(self) -> list[RequestOutput]:
        return [outputs[0] for _, outputs in sorted(self.outputs.items()) if outputs]


def _wrapped(seed: int) -> int:
    """Into the 64 signed bits that a seed may have."""
    return (seed + 2**63) % 2**64 - 2**63


def _merged(outputs: list[RequestOutput]) -> RequestOutput:
    first, *rest = outputs
    for output in rest:
        first.add(output, aggregate=True)
        first.metrics = output.metrics
    return first
