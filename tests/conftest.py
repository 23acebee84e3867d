"""Fixtures that several test folders share."""

from collections.abc import Iterator

import pytest

from tests.server import Server, running


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The bundled models under real vLLM, shared by all tests that do not harm it."""
    with running(tmp_path_factory.mktemp("server") / "log", ["--max-candidates", "256"]) as started:
        yield started
