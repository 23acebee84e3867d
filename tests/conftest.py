"""Fixtures that several test folders share."""

from collections.abc import Iterator

import pytest

from scripts.tools import Prometheus, find_prometheus
from tests.server import ALLOWED_ORIGIN, Server, running


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
