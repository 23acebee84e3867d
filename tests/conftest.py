"""Fixtures that several test folders share."""

import sys
from collections.abc import Iterator

import pytest

from scripts.tools import Prometheus, find_prometheus
from tests.server import ALLOWED_ORIGIN, Server, running


def pytest_collection_finish() -> None:
    """One thread for torch: a tiny model gains nothing by two, and loses ten times over where a core is taken."""
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The bundled models under real vLLM, shared by all tests that do not harm it."""
    options = ["--max-candidates", "256", "--gpu-hour-dollars", "2.5", "--allowed-origins", f'["{ALLOWED_ORIGIN}"]']
    options += ["--slo-p99-ms", "600000"]  # measured, and never missed
    with running(tmp_path_factory.mktemp("server") / "log", options) as started:
        yield started


@pytest.fixture(scope="session")
def prometheus() -> Prometheus:
    found = find_prometheus()
    if found is None:
        pytest.skip("no Prometheus here: make tools")
    return found
