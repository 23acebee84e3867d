"""The reranker as vLLM's `EngineClient`: vLLM's OpenAI application talks to it and never learns of the N samples.

Everything is the generation engine's own but for three things: `generate`, which samples, scores and yields only the
winner when the request at hand asks for it; `renderer`, which remembers the conversation for the reward model; and
health, which counts the reward engine in.
"""

from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Any, cast

from vllm.inputs import EngineInput
from vllm.outputs import RequestOutput
from vllm.sampling_params import SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from reward.scorer import RewardUnavailable
from reward.template import Message
from service.context import RequestContext, current_request
from service.errors import EngineDown, ServiceError
from service.plan import Plan, make_plan
from service.reranker import Run, score_finished
from service.reward_model import RewardModel
from service.vllm_app.relay import Relay
from service.vllm_app.sampler import VllmSampler


class RerankingEngine:
    """engine: generates. reward: scores, and says when it dies. checkpoint_tokens: see `BestOfN`."""

    def __init__(
        self,
        engine: AsyncLLM,
        reward: RewardModel,
        checkpoint_tokens: int | None,
    ) -> None:
        self._engine = engine
        self._reward = reward
        self._checkpoint_tokens = checkpoint_tokens
        self.renderer = _RememberingRenderer(engine.renderer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    # -- generation

    def generate(
        self, prompt: Any, sampling_params: SamplingParams, request_id: str, **options: Any
    ) -> AsyncIterator[RequestOutput]:
        """As `EngineClient.generate`: the outputs of the best candidates, or of all of them where none is ranked."""
        context = current_request.get()
        # Streamed input is a generator, and a request that is closed generates in the background: both are vLLM's.
        if context is None or context.closed or not isinstance(prompt, Mapping):
            return self._engine.generate(prompt, sampling_params, request_id, **options)
        plan = make_plan(
            context.ask,
            n=sampling_params.n,
            temperature=sampling_params.temperature,
            checkpoint_tokens=self._checkpoint_tokens,
        )
        generate = self._relay if plan.live else self._rerank
        return generate(context, plan, prompt, sampling_params, request_id, options)

    async def _rerank(
        self,
        context: RequestContext,
        plan: Plan,
        prompt: Mapping[str, Any],
        params: SamplingParams,
        request_id: str,
        options: Mapping[str, Any],
    ) -> AsyncIterator[RequestOutput]:
        step = plan.strategy.checkpoint_tokens
        sampler = VllmSampler(self._engine, prompt, params, request_id, options, step)
        run = Run(plan, self._messages(context, prompt), sampler, self._reward)
        context.generations.append(run)
        try:
            selected = await run.best()
        except ServiceError as error:
            context.error = context.error or error
            raise
        finally:
            run.ledger.prompt_tokens = sampler.prompt_tokens
            run.ledger.cached_prompt_tokens = sampler.cached_prompt_tokens
        for output in sampler.winners(selected):
            yield output

    async def _relay(
        self,
        context: RequestContext,
        plan: Plan,
        prompt: Mapping[str, Any],
        params: SamplingParams,
        request_id: str,
        options: Mapping[str, Any],
    ) -> AsyncIterator[RequestOutput]:
        score = partial(score_finished, self._messages(context, prompt), self._reward) if plan.ranked else None
        outputs = self._engine.generate(cast(EngineInput, prompt), params, request_id, **options)
        relay = Relay(plan, outputs, partial(self._engine.abort, request_id), params.output_kind, score)
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

    def _messages(self, context: RequestContext, prompt: Mapping[str, Any]) -> tuple[Message, ...]:
        """The conversation as rendered last, or a bare prompt as one user message."""
        if context.messages:
            return context.messages
        text = prompt.get("prompt")
        if text is None:
            text = self._engine.get_tokenizer().decode(prompt["prompt_token_ids"])
        return ({"role": "user", "content": text},)

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

    async def render_chat_async(self, *args: Any, **kwargs: Any) -> Any:
        conversations, inputs = await self._renderer.render_chat_async(*args, **kwargs)
        context = current_request.get()
        if context is not None:
            context.messages = tuple(conversations[0])
        return conversations, inputs
