"""Work on long texts, which would hold an event loop up, in a thread of its own."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
_AT_ONCE_CHARACTERS = 16_000  # rendered and tokenised in about a millisecond, less than a busy loop takes to come back


class OffLoop:
    """One thread for one tokenizer, which is not made for two at once; it lets go of the interpreter by itself."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "reward-prompts")

    async def run(self, work: Callable[[], T], characters: int) -> T:
        """What `work` returns. characters: of the text that it is about; with few of them it is done at once."""
        if characters <= _AT_ONCE_CHARACTERS:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def characters(*values: Any) -> int:
    """About how long texts are, of all that is in JSON values; nothing is counted that would change no decision."""
    count, rest = 0, list(values)
    while rest and count <= _AT_ONCE_CHARACTERS:
        value = rest.pop()
        count += len(value) if isinstance(value, str) else 1
        if isinstance(value, Mapping):
            rest.extend(value)
            rest.extend(value.values())
        elif isinstance(value, list | tuple):
            rest.extend(value)
    return count
