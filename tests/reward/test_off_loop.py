"""Long texts leave the event loop alone; short ones are dealt with at once."""

import asyncio
import threading

import pytest

from reward.off_loop import OffLoop


async def test_what_is_short_is_done_at_once_and_what_is_long_in_one_thread_of_its_own() -> None:
    off_loop = OffLoop()
    here = threading.get_ident()
    assert await off_loop.run(threading.get_ident, 10) == here
    elsewhere = set(await asyncio.gather(*(off_loop.run(threading.get_ident, 10**6) for _ in range(3))))
    assert len(elsewhere) == 1
    assert here not in elsewhere


@pytest.mark.parametrize("characters", [1, 10**6])
async def test_an_error_comes_back(characters: int) -> None:
    def fail() -> None:
        raise LookupError("x")

    with pytest.raises(LookupError):
        await OffLoop().run(fail, characters)


async def test_the_loop_goes_on_meanwhile() -> None:
    may_end = threading.Event()
    working = asyncio.create_task(OffLoop().run(lambda: may_end.wait(5), 10**6))
    await asyncio.sleep(0)
    may_end.set()
    assert await working
