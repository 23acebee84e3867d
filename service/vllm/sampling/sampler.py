"""vLLM's AsyncLLM as a `Sampler`, and its outputs put together again for vLLM's own serving code."""

import copy
import uuid
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from vllm.inputs import EngineInput
from vllm.outputs import RequestOutput
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from service.rerank.errors import EngineDown
from service.rerank.plan import Plan
from service.rerank.protocols import Draft
from service.rerank.run import Run
from service.vllm.sampling.quantities import Quantities

_NO_PROGRESS = 1 << 30


@dataclass(frozen=True)
class EngineRequest:
    """One call of `EngineClient.generate`. options: its keyword arguments.

    prompt: a mapping, or a generator of pieces where input is streamed.
    engine_id: our own, since `request_id` is what the client sent in `x-request-id`, and vLLM aborts all requests
    that carry the same one.
    """

    prompt: Any
    params: SamplingParams
    request_id: str
    options: Mapping[str, Any]
    engine_id: str = field(default_factory=lambda: f"bestofn-{uuid.uuid4().hex}")


class VllmSampler:
    """Candidates of one prompt as separate engine requests, so that each can be scored and aborted by itself.

    The prompt is prefilled once for all of them by vLLM's prefix cache. Candidate i is seeded with seed + i, as vLLM
    does for n > 1; candidate 0 may be the one of temperature 0. What the engine gives is kept as it came until it is
    passed on; what goes out are copies.
    """

    def __init__(self, engine: AsyncLLM, request: EngineRequest, plan: Plan) -> None:
        self._engine = engine
        self._request = request
        self._params = request.params
        self._ranked = plan.ranked
        self._include_greedy = plan.include_greedy
        model_config = engine.model_config if plan.quantities else None
        self._quantities = Quantities(plan.quantities, request.params, model_config)
        self._interval = plan.strategy.checkpoint_tokens or _NO_PROGRESS  # tokens between two drafts
        self._aborted: set[int] = set()
        self._outputs: dict[int, deque[RequestOutput]] = {}  # of each candidate, until they have been passed on
        self._prompts: dict[int, tuple[int, int]] = {}  # of each candidate: tokens of its prompt, and of them cached

    async def sample(self, index: int) -> AsyncIterator[Draft]:
        if index in self._aborted:
            yield Draft(0, "", "abort")
            return
        kept = self._outputs.setdefault(index, deque())
        prompt = cast(EngineInput, self._request.prompt)
        params, engine_id = self._child_params(index), self._child_id(index)
        generation = self._engine.generate(prompt, params, engine_id, **self._request.options)
        delta = params.output_kind == RequestOutputKind.DELTA
        tokens, characters, logprob = 0, 0, 0.0
        try:
            async for output in generation:
                kept.append(output)
                self._prompts.setdefault(index, (len(output.prompt_token_ids or ()), output.num_cached_tokens or 0))
                completion = output.outputs[0]
                new, text = len(completion.token_ids) - tokens, completion.text[characters:]
                quantities = self._quantities.read(completion, tokens, logprob)
                logprob += quantities.get("logprob", 0.0)
                yield Draft(new, text, completion.finish_reason, **quantities)
                if not delta:
                    tokens, characters = len(completion.token_ids), len(completion.text)
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
        child.skip_clone = True
        self._quantities.ask(child)
        if self._include_greedy and index == 0:
            _make_greedy(child)
        if self._ranked:
            child.output_kind = RequestOutputKind.DELTA
            if not self._streams:  # a stream keeps its pieces: parsers depend on them
                child.stream_interval = self._interval
        return child

    @property
    def _streams(self) -> bool:
        """Whether the request is answered piece by piece."""
        return self._params.output_kind == RequestOutputKind.DELTA

    async def answer(self, run: Run) -> AsyncIterator[RequestOutput]:
        """A stream gets committed candidates while they grow, or the winners' pieces; anything else the whole at once.

        Raises what `Run.best` raises.
        """
        passed_on = False
        while self._streams:
            over = run.over
            run.news.clear()
            for rank, index in enumerate(run.committed):
                pieces = self._outputs.get(index, deque())
                for _ in range(len(pieces)):  # and then the next choice, however fast this one grows
                    passed_on = True
                    yield self._renamed(pieces.popleft(), rank)
            if over:
                break
            await run.news.wait()
        selected = await run.best()
        for output in () if passed_on else self._winners(selected):
            yield output
        self._let_go()

    def _let_go(self) -> None:
        """A request may outlast this answer by far: a beam search asks for one after every token."""
        self._outputs.clear()
        self._request = replace(self._request, prompt={})

    def _winners(self, selected: tuple[int, ...]) -> list[RequestOutput]:
        """The selected candidates' outputs, best first: a stream's as they came, otherwise one with all choices."""
        if self._streams:
            return [
                self._renamed(output, rank) for rank, index in enumerate(selected) for output in self._outputs[index]
            ]
        first, *rest = [self._whole(index, rank) for rank, index in enumerate(selected)]
        first.outputs = [*first.outputs, *(output.outputs[0] for output in rest)]
        return [first]

    def _whole(self, index: int, rank: int) -> RequestOutput:
        """All outputs of one candidate as one."""
        first, *rest = self._outputs[index]
        whole = self._renamed(first, rank)
        if rest:
            completion = whole.outputs[0]
            completion.token_ids = list(completion.token_ids)
            completion.logprobs = copy.deepcopy(completion.logprobs)
            completion.sampling_mask = copy.deepcopy(completion.sampling_mask)
        for output in rest:
            whole.add(self._renamed(output, rank), aggregate=self._ranked)
            whole.metrics = output.metrics
        return whole

    def _renamed(self, output: RequestOutput, rank: int) -> RequestOutput:
        """The output as the request's own: with its id, as choice number `rank`."""
        renamed, completion = copy.copy(output), copy.copy(output.outputs[0])
        renamed.request_id, completion.index = self._request.request_id, rank
        self._quantities.leave_out(completion)
        renamed.outputs = [completion]
        return renamed

    @property
    def prompt_tokens(self) -> int:
        return self._first_prompt[0]

    @property
    def cached_prompt_tokens(self) -> int:
        """Prompt tokens that the first candidate found in the prefix cache; the others share what it computed."""
        return self._first_prompt[1]

    @property
    def _first_prompt(self) -> tuple[int, int]:
        return self._prompts[min(self._prompts)] if self._prompts else (0, 0)


def _make_greedy(params: SamplingParams) -> None:
    """As vLLM changes parameters that are made with temperature 0; their kind is kept from its first reading."""
    params.temperature, params.top_p, params.top_k, params.min_p = 0.0, 1.0, 0, 0.0
    params.__dict__.pop("sampling_type", None)


def _wrapped(seed: int) -> int:
    """Into the 64 signed bits that a seed may have."""
    return (seed + 2**63) % 2**64 - 2**63
