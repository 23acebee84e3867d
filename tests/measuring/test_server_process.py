"""Small servers in processes of their own."""

import os
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest

from measuring.server_process import ServerFailed, bestofn, bestofn_serve, free_port, running, serving

PROGRAM = """
import os, sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
print("kind:", os.environ["KIND"], flush=True)
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), SimpleHTTPRequestHandler).serve_forever()
"""


def small(port: int) -> list[str]:
    return [sys.executable, "-c", PROGRAM, str(port)]


def test_a_server_answers_until_the_end_and_its_output_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with serving(small, log, environment={"KIND": "small"}, ready="/", start_s=60) as server:
        with urllib.request.urlopen(f"{server.url}/", timeout=10) as answer:
            assert answer.status == 200
        assert psutil.pid_exists(server.pid)
    assert not psutil.pid_exists(server.pid)
    assert "kind: small" in log.read_text()


def test_a_server_that_ends_is_an_error_with_what_it_printed_last(tmp_path: Path) -> None:
    broken = [sys.executable, "-c", "raise SystemExit('no such model')"]
    failing = pytest.raises(ServerFailed, match=r"the server ended; .*\n.*no such model")
    with failing, serving(lambda port: broken, tmp_path / "log", start_s=60):
        pytest.fail("it never was ready")


def test_a_server_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    idle = [sys.executable, "-c", "import time; time.sleep(600)"]
    failing = pytest.raises(ServerFailed, match="was not ready after 1 s")
    with failing, serving(lambda port: idle, tmp_path / "log", start_s=1):
        pytest.fail("it never was ready")


def test_what_runs_has_this_environment_and_more(tmp_path: Path) -> None:
    program = "import os; print(os.environ['MORE'], os.environ['PATH'])"
    with running([sys.executable, "-c", program], tmp_path / "log", environment={"MORE": "1"}) as process:
        assert process.wait(60) == 0
    assert (tmp_path / "log").read_text() == f"1 {os.environ['PATH']}\n"


def test_bestofn_is_started_by_its_package() -> None:
    assert bestofn("replay")[1:] == ["-m", "bestofn_server", "replay"]
    assert bestofn_serve(["--best-of", "4"])(81)[3:] == ["serve", "--best-of", "4", "--port", "81"]
    assert free_port() > 0
