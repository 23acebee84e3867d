"""The reranker as vLLM's `EngineClient`: vLLM's OpenAI application talks to it and never learns of the N samples.

Everything is the generation engine's own but for three things: `generate`, which samples, scores and yields only what
is returned; `renderer`, whose prompts carry the conversation for the reward model; and health, which counts the reward
engine in.
"""

import secrets
from argparse import Namespace
from collections.abc import AsyncIterator, Mapping
from typing import Any

from vllm.outputs import RequestOutput
from vllm.sampling_params import SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from reward.scorer import RewardUnavailable
from service.rerank.busy_time import BusyMeter
from service.rerank.context import RequestContext, current_request
from service.rerank.errors import ServiceError
from service.rerank.plan import Plan, make_plan
from service.rerank.run import Run
from service.rerank.strategies.profile import StrategyProfile
from service.rerank.supervised_scorer import SupervisedScorer
from service.vllm.conversation import ConversationRenderer, Conversations, wants_whole
from service.vllm.sampler import EngineRequest, VllmSampler


class RerankingEngine:
    """engine: generates. reward: scores, and says when it dies. meter: charges requests for the machine's time.

    checkpoint_tokens: see `BestOfN`. profile: how strategies are set where a request does not say. args: of vLLM's
    command line.
    """

    def __init__(
        self,
        engine: AsyncLLM,
        reward: SupervisedScorer,
        meter: BusyMeter,
        checkpoint_tokens: int | None,
        profile: StrategyProfile,
        args: Namespace | None = None,
    ) -> None:
        self._engine = engine
        self._reward = reward
        self._meter = meter
        self._checkpoint_tokens = checkpoint_tokens
        self._profile = profile
        self._conversations = Conversations(engine, reward.scorer.template, args)
        self.renderer = ConversationRenderer(engine.renderer)

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
            whole=wants_whole(prompt, sampling_params),
        )
        return self._answer(context, plan, EngineRequest(prompt, sampling_params, request_id, options))

    async def _answer(
        self, context: RequestContext, plan: Plan, request: EngineRequest
    ) -> AsyncIterator[RequestOutput]:
        """Whoever stops listening ends nothing: `context.close` does, whatever became of the request."""
        try:
            conversation = await self._conversations.of(request.prompt, context.ask) if plan.ranked else None
            sampler = VllmSampler(self._engine, request, plan)
            run = Run(plan, conversation, sampler, self._reward, self._meter)
            context.runs.append(run)
            async for output in sampler.answer(run):
                yield output
        except ServiceError as error:
            context.error = context.error or error
            raise

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
