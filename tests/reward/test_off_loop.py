"""Long texts leave the event loop alone; short ones are dealt with at once."""

import asyncio
import threading

import pytest

from reward.off_loop import OffLoop, characters


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


def test_all_texts_in_a_value_count() -> None:
    assert characters("abc") == 3
    assert characters({"a": ["bc", {"d": "ef"}]}, None, 7) == 6 + 5  # its letters, and one for each other value
    assert characters([1] * 100_000) > 16_000


def test_counting_ends_where_it_is_long_anyway() -> None:
    deep: list[object] = []
    deep.append(deep)  # without an end
    assert characters("x" * 20_000, deep) > 16_000
