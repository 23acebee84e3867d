"""The reward model as the server uses it: one scorer for all requests, counted, and watched over."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from reward.scorer import RewardUnavailable, Score, Scorer
from reward.template import Message, Prompt

Listener = Callable[[RewardUnavailable], None]


class RewardModel:
    """Tells every run at once when the scorer dies, so that none has to find out by itself."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self.failure: RewardUnavailable | None = None
        self.in_flight = 0
        self._listeners: set[Listener] = set()

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
        """The conversation in the reward model's own template; raises what the template raises."""
        return self.scorer.template.prompt(messages)

    async def prefill(self, prompt: Prompt) -> None:
        """As `Scorer.prefill`."""
        with self._counted():
            await self.scorer.prefill(prompt)

    async def score(self, prompt: Prompt, response: str, *, finished: bool = True) -> Score:
        """As `Scorer.score`; raises RewardUnavailable at once when the scorer is known to be dead."""
        with self._counted():
            return await self.scorer.score(prompt, response, finished=finished)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        if self.failure is not None:
            raise self.failure
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1
