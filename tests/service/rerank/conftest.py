"""Fixtures for tests that start runs."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.service.fakes import cancelled, turns


@pytest.fixture
async def nothing_is_left_running() -> AsyncIterator[None]:
    """What a test starts has ended when it ends."""
    before = asyncio.all_tasks()
    yield
    await turns(2)
    left = {task for task in asyncio.all_tasks() - before if task is not asyncio.current_task()}
    for task in left:
        await cancelled(task)
    assert not left
