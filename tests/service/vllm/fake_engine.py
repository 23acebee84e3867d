"""Stands for a started `AsyncLLM`: follows scripts, and gives vLLM's own outputs in the kind that it is asked for."""

import asyncio
import copy
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from vllm.logprobs import Logprob
from vllm.outputs import CompletionOutput, RequestOutput, SamplingMask
from vllm.sampling_params import RequestOutputKind, SamplingParams

from tests.service.fakes import Script, turns

PROMPT_TOKENS = [1, 2, 3]


@dataclass(frozen=True)
class Call:
    """One call of `generate`."""

    prompt: Any
    params: SamplingParams
    request_id: str
    options: Mapping[str, Any]


class FakeEngine:
    """Follows one script for each call of `generate`, in the order of the calls; each letter is a token."""

    def __init__(self, *scripts: Script) -> None:
        self.errored = False
        self.is_running = True
        self.dead_error: BaseException = RuntimeError("the engine is alive")
        self.unhealthy: Exception | None = None  # raised by `check_health`
        self.renderer: Any = None
        self.model_name = "a generator"
        self.model_config: Any = None
        self.calls: list[Call] = []
        self.running: set[str] = set()
        self.aborted: list[str] = []
        self._scripts = scripts
        self._released: defaultdict[int, asyncio.Event] = defaultdict(asyncio.Event)
        self._given: list[tuple[RequestOutput, RequestOutput]] = []

    async def generate(
        self, prompt: Any, sampling_params: SamplingParams, request_id: str, **options: Any
    ) -> AsyncIterator[RequestOutput]:
        number = len(self.calls)
        script = self._scripts[number]
        self.calls.append(Call(prompt, sampling_params, request_id, options))
        self.running.add(request_id)
        try:
            async for before, piece, reason in self._growth(number, script, request_id):
                output = _output(request_id, sampling_params, before, piece, reason)
                if output is not None:
                    self._given.append((output, copy.deepcopy(output)))
                    yield output
            if script.error is not None:
                raise script.error
        finally:
            self.running.discard(request_id)

    async def _growth(self, number: int, script: Script, request_id: str) -> AsyncIterator[tuple[str, str, str | None]]:
        """What there was, what comes now, and the reason if it is the end."""
        before = ""
        for place, piece in enumerate(script.pieces, start=1):
            last = place == len(script.pieces)
            await turns(script.turns)
            if script.held and last:
                await self._released[number].wait()
            if request_id in self.aborted:
                yield before, "", "abort"
                return
            yield before, piece, script.reason if last and script.error is None else None
            before += piece

    def release(self, number: int) -> None:
        self._released[number].set()

    async def abort(self, request_ids: list[str]) -> None:
        self.aborted += request_ids
        for number, call in enumerate(self.calls):
            if call.request_id in request_ids:
                self.release(number)

    @property
    def changed(self) -> list[str]:
        """Texts of the outputs that are no longer as they were given."""
        return [then.outputs[0].text for now, then in self._given if _values(now) != _values(then)]

    def get_tokenizer(self) -> Any:
        class Tokenizer:
            def decode(self, token_ids: list[int]) -> str:
                return "".join(map(chr, token_ids))

        return Tokenizer()

    async def check_health(self) -> None:
        if self.unhealthy is not None:
            raise self.unhealthy


def _output(
    request_id: str, params: SamplingParams, before: str, piece: str, reason: str | None
) -> RequestOutput | None:
    """As vLLM's output processor makes it; None where the request wants none yet."""
    if params.output_kind == RequestOutputKind.FINAL_ONLY and reason is None:
        return None
    text = piece if params.output_kind == RequestOutputKind.DELTA else before + piece
    token_ids = [ord(letter) for letter in text]
    completion = CompletionOutput(
        index=0,
        text=text,
        token_ids=token_ids,
        cumulative_logprob=-0.5 * len(before + piece),
        logprobs=None if params.logprobs is None else [{token: Logprob(-0.5)} for token in token_ids],
        finish_reason=reason,
        sampling_mask=SamplingMask([[token] for token in token_ids]),
    )
    return RequestOutput(
        request_id, "prompt", PROMPT_TOKENS, None, [completion], finished=reason is not None, num_cached_tokens=2
    )


def _values(output: RequestOutput) -> dict[str, Any]:
    return {**vars(output), "outputs": [vars(completion) for completion in output.outputs]}
