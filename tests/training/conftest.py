"""Fixtures that the tests of several trainers share."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.training.parallel import Processes, Train


@pytest.fixture(scope="session")
def in_two_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Train]:
    """`in_two_processes(trainer, config, output)`: the same two for all tests, and new ones after a failure."""
    started: list[Processes] = []

    def train(trainer: Callable[..., Any], config: Any, output: Path) -> None:
        if not (started and started[-1].running):
            started.append(Processes(2, tmp_path_factory.mktemp("processes")))
        started[-1].train(trainer, config, output)

    yield train
    for processes in started:
        processes.end()
