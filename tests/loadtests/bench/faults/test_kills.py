"""A server that is told to stop or killed amid traffic, with the tiny server for ours."""

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from loadtests.bench.faults import kills
from loadtests.bench.faults.life import Life
from tests.loadtests.bench.faults.lives import tiny_life


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """Options with which a server was asked for."""
    options: list[Sequence[str]] = []

    @asynccontextmanager
    async def living(given: Sequence[str] = ()) -> AsyncIterator[Life]:
        options.append(given)
        async with tiny_life(tmp_path) as life:
            yield life

    monkeypatch.setattr(kills, "living", living)
    return options


async def test_the_death_of_the_api_process_cuts_answers_off(tiny: list[Sequence[str]]) -> None:
    fault = await kills.kill("api", "waiting", random.Random(0))
    assert (fault.processes_left, fault.count("miss")) == (0, 0)
    assert fault.wrong == []


async def test_a_server_that_ends_when_it_is_told_to_is_looked_through(tiny: list[Sequence[str]]) -> None:
    fault = await kills.term("draining", random.Random(0))
    assert tiny == [["--shutdown-timeout", "20"]]
    assert fault.processes_left == 0
    assert "no request came to the stage draining" in fault.wrong


async def test_an_engine_that_is_not_there_does_not_end_the_server(
    tiny: list[Sequence[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kills, "_DIES_S", 0.2)
    fault = await kills.kill("reward", "waiting", random.Random(0))
    assert any("the server has not ended after" in line for line in fault.wrong), fault.wrong
