"""The reward model as the server uses it: one scorer for all requests, counted, watched, its failures made uniform."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Literal

from reward.config import RewardConfig
from reward.scorer import RewardUnavailable, Score, Scorer
from reward.template import Message, Prompt
from service.rerank.errors import InvalidRequest

OnRewardFailure = Literal["error", "unranked"]
Listener = Callable[[RewardUnavailable], None]


class SupervisedScorer:
    """Notifies every run at once when the scorer dies, so that none has to find out by itself.

    on_failure: what a request is answered then: an error, or the first finished candidates, unranked. timeout_s: a
    scorer that takes longer for one text counts as unavailable.
    """

    def __init__(self, scorer: Scorer, on_failure: OnRewardFailure = "error", timeout_s: float | None = None) -> None:
        self.scorer = scorer
        self.timeout_s = timeout_s
        self.on_failure = on_failure
        self.failure: RewardUnavailable | None = None
        self.in_flight = 0
        self._listeners: set[Listener] = set()

    @property
    def config(self) -> RewardConfig:
        """The names of its heads, and its normalisation."""
        return self.scorer.config

    @property
    def fatal(self) -> bool:
        """The scorer has died, and the server cannot do without."""
        return self.failure is not None and self.on_failure == "error"

    async def watch(self) -> None:
        """Runs for the life of the server."""
        try:
            await self.scorer.wait_failed()
        except RewardUnavailable as error:
            self.failure = error
            for listener in list(self._listeners):
                listener(error)

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` when the scorer dies; at once if it has."""
        if self.failure is not None:
            listener(self.failure)
        self._listeners.add(listener)

    def unsubscribe(self, listener: Listener) -> None:
        self._listeners.discard(listener)

    def prompt(self, messages: Sequence[Message]) -> Prompt:
        """The conversation in the reward model's own template. Raises InvalidRequest when the template refuses it."""
        try:
            return self.scorer.template.prompt(messages)
        except Exception as error:
            reason = f"the reward model's chat template cannot render this conversation: {error}"
            raise InvalidRequest(reason, param="messages") from error

    async def prefill(self, prompt: Prompt) -> None:
        """As `Scorer.prefill`. Raises ValueError (the prompt is too long to score) or RewardUnavailable."""
        async with self._counted():
            await self.scorer.prefill(prompt)

    async def score(self, prompt: Prompt, response: str, *, finished: bool = True) -> Score:
        """As `Scorer.score`. Raises ValueError (this text cannot be scored) or RewardUnavailable (no text can)."""
        async with self._counted():
            return await self.scorer.score(prompt, response, finished=finished)

    @asynccontextmanager
    async def _counted(self) -> AsyncIterator[None]:
        if self.failure is not None:
            raise self.failure
        self.in_flight += 1
        try:
            async with asyncio.timeout(self.timeout_s):
                yield
        except TimeoutError as error:
            raise RewardUnavailable(f"no score within {self.timeout_s} s") from error
        except (ValueError, RewardUnavailable):
            raise
        except Exception as error:
            raise RewardUnavailable(f"{type(error).__name__}: {error}") from error
        finally:
            self.in_flight -= 1
