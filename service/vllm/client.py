"""The reranker as vLLM's `EngineClient`: vLLM's OpenAI application talks to it and never learns of the N samples.

Everything is the generation engine's own but for three things: `generate`, which samples, scores and yields only the
winner when the request at hand asks for it; `renderer`, which remembers the conversation for the reward model; and
health, which counts the reward engine in.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Any, cast

from vllm.inputs import EngineInput
from vllm.outputs import RequestOutput
from vllm.sampling_params import SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from reward.conversation import Conversation
from reward.scorer import RewardUnavailable
from reward.template import Message
from service.rerank.busy_time import BusyMeter
from service.rerank.context import RequestContext, current_request
from service.rerank.errors import EngineDown, InvalidRequest, ServiceError
from service.rerank.plan import Plan, make_plan
from service.rerank.run import Run
from service.rerank.scoring import score_finished
from service.rerank.strategies.profile import StrategyProfile
from service.rerank.supervised_scorer import RewardModel
from service.vllm.relay import Relay
from service.vllm.sampler import EngineRequest, VllmSampler


class RerankingEngine:
    """engine: generates. reward: scores, and says when it dies. meter: charges requests for the machine's time.

    checkpoint_tokens: see `BestOfN`. profile: how strategies are set where a request does not say.
    """

    def __init__(
        self,
        engine: AsyncLLM,
        reward: RewardModel,
        meter: BusyMeter,
        checkpoint_tokens: int | None,
        profile: StrategyProfile,
    ) -> None:
        self._engine = engine
        self._reward = reward
        self._meter = meter
        self._checkpoint_tokens = checkpoint_tokens
        self._profile = profile
        self.renderer = _RememberingRenderer(engine.renderer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    # -- generation

    def generate(
        self, prompt: Any, sampling_params: SamplingParams, request_id: str, **options: Any
    ) -> AsyncIterator[RequestOutput]:
        """As `EngineClient.generate`: the outputs of the best candidates, or of all of them where none is ranked."""
        context = current_request.get()
        # Input that is streamed comes as a generator. A background request outlives its HTTP request and its context.
        if context is None or context.ask.background or not isinstance(prompt, Mapping):
            return self._engine.generate(prompt, sampling_params, request_id, **options)
        plan = make_plan(
            context.ask,
            n=sampling_params.n,
            temperature=sampling_params.temperature,
            checkpoint_tokens=self._checkpoint_tokens,
            profile=self._profile,
            seed=secrets.randbits(32) if sampling_params.seed is None else sampling_params.seed,
        )
        generate = self._relay if plan.live else self._rerank
        return generate(context, plan, EngineRequest(prompt, sampling_params, request_id, options))

    async def _rerank(
        self,
        context: RequestContext,
        plan: Plan,
        request: EngineRequest,
    ) -> AsyncIterator[RequestOutput]:
        sampler = VllmSampler(self._engine, request, plan.strategy.checkpoint_tokens)
        run = Run(plan, self._conversation(context, request), sampler, self._reward, self._meter)
        context.generations.append(run)
        best = asyncio.create_task(run.best())
        try:
            decided: set[asyncio.Future[Any]] = {best, run.committed}
            await asyncio.wait(decided, return_when=asyncio.FIRST_COMPLETED)
            live = run.committed.done() and sampler.streams
            if live:
                async for output in sampler.follow(run.committed.result(), best):
                    yield output
            selected = await best
        except ServiceError as error:
            context.error = context.error or error
            raise
        finally:
            best.cancel()
            await asyncio.shield(run.close())
        for output in () if live else sampler.winners(selected):
            yield output

    async def _relay(
        self,
        context: RequestContext,
        plan: Plan,
        request: EngineRequest,
    ) -> AsyncIterator[RequestOutput]:
        conversation = self._conversation(context, request) if plan.ranked else None
        score = partial(score_finished, conversation, self._reward, self._meter) if conversation else None
        prompt = cast(EngineInput, request.prompt)
        outputs = self._engine.generate(prompt, request.params, request.engine_id, **request.options)
        abort = partial(self._engine.abort, request.engine_id)
        relay = Relay(plan, outputs, abort, request.params.output_kind, score, self._meter)
        context.generations.append(relay)
        try:
            async for output in relay.outputs():
                yield output
        except EngineDeadError as error:
            context.error = EngineDown("the generation engine has died")
            raise context.error from error
        except ServiceError as error:
            context.error = context.error or error
            raise

    def _conversation(self, context: RequestContext, request: EngineRequest) -> Conversation:
        """The conversation as rendered last, or a bare prompt as one user message."""
        if context.conversation is not None:
            return context.conversation
        text = request.prompt.get("prompt")
        if text is None:
            if "prompt_token_ids" not in request.prompt:
                raise InvalidRequest("a prompt given as embeddings cannot be scored", param="prompt_embeds")
            text = self._engine.get_tokenizer().decode(request.prompt["prompt_token_ids"])
        return Conversation(({"role": "user", "content": text},))

    # -- health

    @property
    def errored(self) -> bool:
        return self._engine.errored or self._reward.fatal

    @property
    def is_running(self) -> bool:
        return self._engine.is_running and not self._reward.fatal

    @property
    def dead_error(self) -> BaseException:
        if self._engine.errored:
            return self._engine.dead_error
        return EngineDeadError(f"the reward model is unavailable: {self._reward.failure}")

    async def check_health(self) -> None:
        """Raises EngineDeadError, which vLLM's /health answers with 503."""
        await self._engine.check_health()
        if self._reward.on_failure == "error":
            try:
                await self._reward.scorer.check_health()
            except RewardUnavailable as error:
                raise EngineDeadError(str(error)) from error


class _RememberingRenderer:
    """vLLM's renderer, through which every chat-like request passes: keeps the conversation for the reward model."""

    def __init__(self, renderer: Any) -> None:
        self._renderer = renderer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._renderer, name)

    async def render_chat_async(self, messages: Any, chat_params: Any, *args: Any, **options: Any) -> Any:
        conversations, inputs = await self._renderer.render_chat_async(messages, chat_params, *args, **options)
        context = current_request.get()
        if context is not None:
            context.conversation = _conversation(conversations[0], chat_params.chat_template_kwargs)
        return conversations, inputs


def _conversation(messages: Sequence[Message], template_options: Mapping[str, Any]) -> Conversation:
    """With `continue_final_message` the last message is how the answer begins, not a turn of its own."""
    last = messages[-1] if messages else {}
    if template_options.get("continue_final_message") and isinstance(last.get("content"), str):
        return Conversation(tuple(messages[:-1]), answer_start=last["content"])
    return Conversation(tuple(messages))
