"""The reranker as vLLM's `EngineClient`: vLLM's OpenAI application talks to it and never learns of the N samples.

Everything is the generation engine's own but for three things: `generate`, which samples, scores and yields only what
is returned; `renderer`, whose prompts carry the conversation for the reward model; and health, which counts the reward
engine in.
"""

import logging
import secrets
import time
from argparse import Namespace
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

from vllm.outputs import RequestOutput
from vllm.sampling_params import SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from reward.scorer import RewardUnavailable
from service.http.books import Books
from service.rerank.busy_time import BusyMeter
from service.rerank.context import RequestContext, current_request
from service.rerank.errors import EngineDown, ServiceError
from service.rerank.plan import Plan, make_plan
from service.rerank.request import check_n, plain_ask
from service.rerank.run import Run
from service.rerank.strategies.greedy import GreedyOptions
from service.rerank.strategies.profile import StrategyProfile
from service.rerank.supervised_scorer import SupervisedScorer
from service.vllm.conversation import ConversationRenderer, Conversations, wants_whole
from service.vllm.listening import listen
from service.vllm.sampling.sampler import EngineRequest, VllmSampler

_logger = logging.getLogger(__name__)


class RerankingEngine:
    """engine: generates. reward: scores, and says when it dies; None where there is no reward model. meter: charges
    requests for the machine's time.

    books: where what no HTTP request is known of is admitted and recorded. checkpoint_tokens: see `BestOfN`.
    profile: how strategies are set where a request does not say. args: of vLLM's command line.
    """

    def __init__(
        self,
        engine: AsyncLLM,
        reward: SupervisedScorer | None,
        meter: BusyMeter,
        books: Books,
        checkpoint_tokens: int | None,
        profile: StrategyProfile,
        args: Namespace | None = None,
    ) -> None:
        self._engine = engine
        self._reward = reward
        self._meter = meter
        self._books = books
        self._checkpoint_tokens = checkpoint_tokens
        self._profile = profile
        self._conversations = Conversations(engine, None if reward is None else reward.scorer.template, args)
        self._greedy_models: set[str | None] = set()  # of which the log says so already
        self.renderer = ConversationRenderer(engine.renderer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    # -- generation: everything that vLLM's application generates comes through here

    def generate(
        self, prompt: Any, sampling_params: SamplingParams, request_id: str, **options: Any
    ) -> AsyncIterator[RequestOutput]:
        """As `EngineClient.generate`: the outputs of the best candidates, or of all of them where none is ranked."""
        if not isinstance(prompt, Mapping):  # input that is streamed comes as a generator
            return self._listen(EngineRequest(prompt, sampling_params, request_id, options))
        request = EngineRequest(prompt, sampling_params, request_id, options)
        context = current_request.get()
        return self._answer_alone(request) if context is None else self._answer(context, request)

    async def _listen(self, request: EngineRequest) -> AsyncIterator[RequestOutput]:
        """One candidate for as long as somebody speaks."""
        life = await self._books.admit(plain_ask("realtime"), request.request_id)
        async with life as context:
            async with aclosing(listen(self._engine, request, context, self._meter)) as outputs:
                async for output in outputs:
                    yield output
            if context.piecewise is not None and context.piecewise.candidates[0].state != "finished":
                life.outcome = "cancelled"  # vLLM aborts it by its id when the speaker is gone

    async def _answer_alone(self, request: EngineRequest) -> AsyncIterator[RequestOutput]:
        """What never had an HTTP request that we know of: it is admitted, passed on and recorded here."""
        async with await self._books.admit(plain_ask("other"), request.request_id) as context:
            async for output in self._answer(context, request):
                yield output

    def _plan(self, context: RequestContext, request: EngineRequest) -> Plan:
        params = request.params
        check_n(params.n, self._books.max_candidates)
        plan = make_plan(
            context.ask,
            n=params.n,
            temperature=params.temperature,
            checkpoint_tokens=self._checkpoint_tokens,
            profile=self._profile,
            seed=secrets.randbits(32) if params.seed is None else params.seed,
            whole=wants_whole(request.prompt, params),
            spent_s=time.monotonic() - context.started_s,
        )
        wanted = plan.strategy.name == GreedyOptions.name
        if plan.fewer_because == "greedy" and not wanted and context.ask.model not in self._greedy_models:
            self._greedy_models.add(context.ask.model)
            _logger.warning(
                "%s was asked for the best of %s at temperature 0, where all candidates are one: it gets one. Clients "
                "that send no temperature get the model's own; some harnesses send 0 unless told otherwise.",
                context.ask.model,
                plan.asked_best_of,
            )
        return plan

    async def _answer(self, context: RequestContext, request: EngineRequest) -> AsyncIterator[RequestOutput]:
        """Whoever stops listening ends nothing: `context.close` does, whatever became of the request."""
        try:
            if (refusal := context.error or context.failure) is not None:
                raise refusal
            plan = self._plan(context, request)
            conversation = await self._conversations.of(request.prompt, context.ask) if plan.ranked else None
            sampler = VllmSampler(self._engine, request, plan)
            run = Run(plan, conversation, sampler, self._reward, self._meter, context.places)
            context.begin(run)
            async for output in sampler.answer(run):
                yield output
            if context.ask.beam:
                context.take_step(run)
        except ServiceError as error:
            context.error = context.error or error
            raise

    def check_admission(self, n: int = 1, request_id: str | None = None) -> None:
        """As `AsyncLLM.check_admission`, for all candidates. Raises what vLLM answers with 503."""
        context = current_request.get()
        self._engine.check_admission(n if context is None else max(n, context.ask.best_of), request_id)

    # -- health

    @property
    def errored(self) -> bool:
        return self._engine.errored or self._lost_reward

    @property
    def is_running(self) -> bool:
        return self._engine.is_running and not self._lost_reward

    @property
    def _lost_reward(self) -> bool:
        return self._reward is not None and self._reward.fatal

    @property
    def dead_error(self) -> BaseException:
        """For vLLM to raise; whatever it makes of that, the request that asked is answered with ours."""
        if (context := current_request.get()) is not None:
            context.error = context.error or EngineDown("an engine has died")
        if self._engine.errored or self._reward is None:
            return self._engine.dead_error
        return EngineDeadError(f"the reward model is unavailable: {self._reward.failure}")

    async def check_health(self) -> None:
        """Raises EngineDeadError, which vLLM's /health answers with 503."""
        await self._engine.check_health()
        if self._reward is not None and self._reward.on_failure == "error":
            try:
                await self._reward.scorer.check_health()
            except RewardUnavailable as error:
                raise EngineDeadError(str(error)) from error
