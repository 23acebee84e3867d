"""Fixtures that several test folders share."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.tools import Prometheus, find_prometheus
from tests.server import ALLOWED_ORIGIN, Server, running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First what needs no engine, then what starts its own; then all who share a server, and who kills it last."""
    items.sort(key=_comes)


def _comes(item: pytest.Item) -> tuple[bool, ...]:
    engine, kills = (item.get_closest_marker(name) is not None for name in ("engine", "kills"))
    return engine, engine and "server" in getattr(item, "fixturenames", ()), kills


def pytest_collection_finish() -> None:
    """One thread for torch: a tiny model gains nothing by two, and loses ten times over where a core is taken."""
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def candidate_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the shared server keeps its candidates."""
    return tmp_path_factory.mktemp("candidates")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, candidate_log: Path) -> Iterator[Server]:
    """The bundled models under real vLLM, shared by all tests. Counters tell what all of them did: take differences."""
    options = ["--max-candidates", "256", "--gpu-hour-dollars", "2.5", "--allowed-origins", f'["{ALLOWED_ORIGIN}"]']
    options += ["--slo-p99-ms", "600000"]  # measured, and never missed
    options += ["--max-queued-requests", "8"]
    options += ["--candidate-log", str(candidate_log)]
    stores = {"VLLM_ENABLE_RESPONSES_API_STORE": "1"}  # for background responses
    with running(tmp_path_factory.mktemp("server") / "log", options, stores) as started:
        yield started


@pytest.fixture(scope="session")
def prometheus() -> Prometheus:
    found = find_prometheus()
    if found is None:
        pytest.skip("no Prometheus here: make tools")
    return found
