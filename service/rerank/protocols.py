"""What a run needs of the rest of the server: the generation engine, and a place for each candidate at work."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Draft:
    """What a candidate grew by."""

    tokens: int
    text: str
    finish_reason: str | None  # "abort" when it was ended by `Sampler.abort`, None while it runs
    logprob: float | None = None  # sum over these tokens; None where the plan does not record it
    self_certainty: float | None = None  # mean over these tokens; None where the plan does not record it


class Sampler(Protocol):
    """The generation engine, for one prompt."""

    def sample(self, index: int) -> AsyncIterator[Draft]:
        """Generate candidate `index` (0, 1, ...). Raises EngineDown, or what the engine raised for this candidate."""

    async def abort(self, indices: list[int]) -> None:
        """Make these candidates' iterators end at once, with their last tokens and finish_reason "abort"."""

    @property
    def prompt_tokens(self) -> int:
        """Of the prompt, 0 until the first draft."""

    @property
    def cached_prompt_tokens(self) -> int:
        """Of these, what the engine had read for an earlier request."""


class Place(Protocol):
    """Room for one candidate, or the wait for it."""

    @property
    def granted(self) -> "asyncio.Future[bool]":
        """Done when the place may be used, with True; with False when nobody wants it any more."""


class Places(Protocol):
    """The room of one request."""

    def ask(self) -> Place:
        """A place, in turn."""

    def leave(self, place: Place) -> None:
        """Give a place back, or stop waiting for it. Once for each place that was granted."""
