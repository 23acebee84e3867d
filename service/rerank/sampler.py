"""What a run needs of the generation engine."""

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
