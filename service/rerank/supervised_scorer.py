"""The reward model as the server uses it: one scorer for all requests, counted, watched, its failures made uniform."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Literal

from reward.config import RewardConfig
from reward.conversation import Conversation
from reward.scorer import RewardUnavailable, Score, Scorer
from reward.template import Prompt, Reply
from service.rerank.errors import InvalidRequest

OnRewardFailure = Literal["error", "unranked"]
Listener = Callable[[RewardUnavailable], None]

_logger = logging.getLogger(__name__)
_PROBE_INTERVAL_S = 5.0
_PROBE = Conversation(({"role": "user", "content": "?"},))


class SupervisedScorer:
    """Notifies every run at once when the scorer dies or hangs, so that none has to find out by itself.

    on_failure: what a request is answered then: an error, or candidates as they come, unranked. timeout_s: a scorer
    that takes longer for one text counts as unavailable. hang_s: so does one that has given no score and made no step
    for so long, though it was asked; it is asked again until it answers, and nobody else asks it meanwhile. stepped_s:
    when it last made a step, in monotonic seconds: a long text takes many, and a scorer that does not tell makes none.
    failure: why the scorer cannot be asked now.
    """

    def __init__(
        self,
        scorer: Scorer,
        on_failure: OnRewardFailure,
        timeout_s: float | None,
        hang_s: float,
        stepped_s: Callable[[], float] = lambda: -math.inf,
    ) -> None:
        self.scorer = scorer
        self.timeout_s = timeout_s
        self.on_failure = on_failure
        self.failure: RewardUnavailable | None = None
        self.in_flight = 0
        self._hang_s = hang_s
        self._stepped_s = stepped_s
        self._dead = False
        self._answered_s = time.monotonic()  # when it last gave a score
        self._listeners: set[Listener] = set()

    @property
    def config(self) -> RewardConfig:
        """The names of its heads, and its normalisation."""
        return self.scorer.config

    @property
    def max_tokens(self) -> int | None:
        """The longest conversation that it reads."""
        return self.scorer.max_tokens

    @property
    def fatal(self) -> bool:
        """The scorer has died, and the server cannot do without."""
        return self._dead and self.on_failure == "error"

    def check_ready(self) -> None:
        """Raises RewardUnavailable where requests cannot be answered for want of the reward model."""
        if self.failure is not None and self.on_failure == "error":
            raise self.failure

    def reads_less_than(self, max_tokens: int) -> str | None:
        """A warning for the start: what the generator reads and writes is too long to be scored. None where it is not.

        max_tokens: of a prompt and its answer together, in the generator.
        """
        if self.max_tokens is None or self.max_tokens >= max_tokens:
            return None
        return (
            f"the reward model reads {self.max_tokens} tokens and the generator up to {max_tokens}: what is longer "
            "cannot be scored; lower --max-model-len, or serve a reward model that reads more"
        )

    # -- its health

    async def watch(self) -> None:
        """Runs for the life of the server."""
        probing = asyncio.create_task(self._probe())
        try:
            await self.scorer.wait_failed()
        except RewardUnavailable as error:
            self._dead = True
            self._fail(error)
        finally:
            probing.cancel()

    async def _probe(self) -> None:
        """Asks for a score whenever none has come for a while. A template that takes no question is not asked."""
        interval_s = min(_PROBE_INTERVAL_S, self._hang_s / 2)
        with suppress(InvalidRequest):
            prompt = await self.prompt(_PROBE)
            while True:
                await asyncio.sleep(interval_s)
                if time.monotonic() - self._answered_s >= interval_s:
                    await self._probe_once(prompt)

    async def _probe_once(self, prompt: Prompt) -> None:
        """Returns when the scorer has answered, however long it takes."""
        asked_s = time.monotonic()
        answer = asyncio.ensure_future(self.scorer.score(prompt, ""))
        try:
            while not answer.done():
                alive_s = max(asked_s, self._answered_s, self._stepped_s())
                patience_s = self._hang_s - (time.monotonic() - alive_s)
                if patience_s <= 0 and self.failure is None:
                    reason = f"the reward model has given no score for {self._hang_s:g} s, and computes none"
                    self._fail(RewardUnavailable(reason))
                await asyncio.wait([answer], timeout=patience_s if self.failure is None else None)
        finally:
            answer.cancel()
        if isinstance(answer.exception(), ValueError | None):
            self._answered()

    def _answered(self) -> None:
        self._answered_s = time.monotonic()
        if self.failure is not None and not self._dead:
            self.failure = None
            _logger.warning("the reward model answers again")

    def _fail(self, error: RewardUnavailable) -> None:
        self.failure = error
        _logger.error("the reward model is down: %s", error)
        for listener in list(self._listeners):
            listener(error)

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` when the scorer dies or hangs; at once if it has."""
        if self.failure is not None:
            listener(self.failure)
        self._listeners.add(listener)

    def unsubscribe(self, listener: Listener) -> None:
        self._listeners.discard(listener)

    # -- its work

    async def prompt(self, conversation: Conversation) -> Prompt:
        """The conversation in the reward model's own template. Raises InvalidRequest when the template refuses it."""
        try:
            return await self.scorer.prompt(conversation)
        except Exception as error:
            reason = f"the reward model's chat template cannot render this conversation: {error}"
            raise InvalidRequest(reason, param=conversation.param) from error

    async def prefill(self, prompt: Prompt) -> None:
        """As `Scorer.prefill`. Raises ValueError (the prompt is too long to score) or RewardUnavailable."""
        async with self._counted():
            await self.scorer.prefill(prompt)

    async def score(self, prompt: Prompt, response: Reply, *, finished: bool = True) -> Score:
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
            self._answered()
        except TimeoutError as error:
            raise RewardUnavailable(f"no score within {self.timeout_s} s") from error
        except (ValueError, RewardUnavailable):
            raise
        except Exception as error:
            raise RewardUnavailable(f"{type(error).__name__}: {error}") from error
        finally:
            self.in_flight -= 1
