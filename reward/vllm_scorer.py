"""The reward model in a vLLM pooling engine: candidates of one prompt share the prompt's KV cache.

A partial candidate that was scored before pays only for its new tokens. Rewards are the raw outputs of the head,
without the sigmoid that vLLM applies by default.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

from reward.config import RewardConfig, combine
from reward.conversation import Conversation
from reward.off_loop_template import OffLoopTemplate
from reward.scorer import RewardUnavailable, Score
from reward.template import ConversationTemplate, Prompt, Reply

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM

_HEALTH_CHECK_S = 0.25
_END_S = 0.5


class VllmScorer:
    """engine: an AsyncLLM with runner="pooling". config: heads and normalisation of the checkpoint."""

    def __init__(self, engine: AsyncLLM, template: ConversationTemplate, config: RewardConfig) -> None:
        from vllm.inputs import tokens_input
        from vllm.pooling_params import PoolingParams

        self.template = template
        self._engine = engine
        self.config = config
        self._params = PoolingParams(task="classify", use_activation=False)
        self._as_input = tokens_input
        self._numbers = itertools.count()
        self._off_loop = OffLoopTemplate(self.template)
        self.max_tokens: int | None = engine.model_config.max_model_len

    async def prompt(self, conversation: Conversation) -> Prompt:
        """The conversation in the model's template. Raises ValueError when the template refuses it."""
        return await self._off_loop.prompt(conversation)

    async def prefill(self, prompt: Prompt) -> None:
        """Put the prompt's KV into the cache. Raises ValueError when it does not fit the model."""
        if tokens := self.template.prompt_tokens(prompt):
            await self._encode(tokens, prompt.cache_salt)

    async def score(self, prompt: Prompt, response: Reply, *, finished: bool = True) -> Score:
        """Reward of one response.

        Raises:
            ValueError: the conversation is longer than the reward model can read.
            RewardUnavailable: the engine has died.
        """
        tokens = await self._off_loop.tokens(prompt, response, finished=finished)
        raw, cached_tokens = await self._encode(tokens, prompt.cache_salt)
        reward, rewards = combine(raw, self.config)
        return Score(reward, rewards, tokens=len(tokens), cached_tokens=cached_tokens)

    async def _encode(self, tokens: list[int], cache_salt: str | None) -> tuple[list[float], int]:
        """cache_salt: only who has the same one is served from what is computed here, or may learn that it was."""
        excess = len(tokens) - (self.max_tokens or len(tokens))
        if excess > 0:
            raise ValueError(f"{len(tokens)} tokens are {excess} more than the reward model reads")
        try:
            request = self._engine.encode(
                self._as_input(tokens, cache_salt=cache_salt), self._params, f"reward-{next(self._numbers)}"
            )
            outputs = [output async for output in request]
        except Exception as error:
            raise RewardUnavailable(f"{type(error).__name__}: {error}") from error
        if not outputs:
            raise RewardUnavailable("the reward engine gave no output")
        output = outputs[-1]
        return output.outputs.data.float().reshape(-1).tolist(), output.num_cached_tokens or 0

    async def check_health(self) -> None:
        """Raises RewardUnavailable when the engine has died."""
        if self._engine.errored:
            raise RewardUnavailable("the reward engine has died")

    async def wait_failed(self) -> None:
        """Returns never; raises RewardUnavailable within a quarter of a second of the engine's death."""
        while True:
            await self.check_health()
            await asyncio.sleep(_HEALTH_CHECK_S)

    async def close(self) -> None:
        """Stop the engine, which takes a while, in a thread."""
        await asyncio.to_thread(self._engine.shutdown, _END_S)
