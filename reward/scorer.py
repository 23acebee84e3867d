"""What the server needs of a reward model, whichever backend answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from reward.config import RewardConfig
from reward.conversation import Conversation
from reward.template import ConversationTemplate, Prompt, Reply


@dataclass(frozen=True)
class Score:
    """One candidate's reward, normalised as its checkpoint asks, and how many tokens were read for it."""

    # The scalar to rank by, normalised by the checkpoint's mean and std; nan or infinite where the model gave that, and
    # callers treat it as unscored.
    reward: float
    rewards: Mapping[str, float]  # of each named head; empty for a single output
    tokens: int  # of the scored sequence
    cached_tokens: int  # how many of them came from a prefix cache


class RewardUnavailable(Exception):
    """The reward model is down or cannot answer."""


class Scorer(Protocol):
    """A reward model that scores one candidate at a time; it batches by itself what arrives together."""

    template: ConversationTemplate
    config: RewardConfig

    @property
    def max_tokens(self) -> int | None:
        """The longest conversation that the model reads, where that is known."""
        ...

    async def prompt(self, conversation: Conversation) -> Prompt:
        """Render a conversation in the model's template, off the event loop where it is long.

        Raises whatever the template does.
        """
        ...

    async def prefill(self, prompt: Prompt) -> None:
        """Warm the prompt's shared prefix; may do nothing."""
        ...

    async def score(self, prompt: Prompt, response: Reply, *, finished: bool = True) -> Score:
        """Score one answer. Raises RewardUnavailable, and ValueError when the conversation is too long."""
        ...

    async def check_health(self) -> None:
        """Raises RewardUnavailable when the backend cannot answer."""
        ...

    async def wait_failed(self) -> None:
        """Never returns while healthy; raises RewardUnavailable as soon as the backend dies."""
        ...

    async def close(self) -> None:
        """Release the backend; what is still waiting fails with RewardUnavailable."""
        ...
