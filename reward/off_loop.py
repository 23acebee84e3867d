"""Work on long texts, which would hold an event loop up, in a thread of its own."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
_AT_ONCE_CHARACTERS = 16_000  # rendered and tokenised in about a millisecond, less than a busy loop takes to come back


class OffLoop:
    """One thread, since a tokenizer is not made for two at once; the tokenizer itself lets go of the interpreter."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "reward-prompts")

    async def run(self, work: Callable[[], T], characters: int) -> T:
        """What `work` returns. characters: of the text that it is about; with few of them it is done at once."""
        if characters <= _AT_ONCE_CHARACTERS:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
