"""`make observe`: Prometheus beside a running server, and what is said where there is none."""

import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from measuring.server_process import free_port
from scripts.observe import check_server
from scripts.tools import Prometheus
from tests.prometheus import Watched
from tests.server import Server


@pytest.mark.engine
def test_observe_says_where_its_page_is(server: Server, prometheus: Prometheus, tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "scripts.observe", server.url, "--port", str(port), "--data", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            urls = re.findall(r"http://\S+", "".join(process.stdout.readline() for _ in range(5)))
            assert len(urls) == 3
            for url in urls[1:]:
                with urllib.request.urlopen(url, timeout=10) as answer:
                    assert b"Prometheus" in answer.read()
            assert Watched(port).scraped_url() == f"{server.url}/metrics"
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5)


def test_observe_says_that_no_server_answers() -> None:
    command = [sys.executable, "-m", "scripts.observe", f"127.0.0.1:{free_port()}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no server answers at http://127.0.0.1" in done.stderr


def test_observe_says_that_another_program_answers() -> None:
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    Thread(target=server.handle_request).start()
    with server, pytest.raises(ValueError, match=r"/metrics answers 501: is this a bestofn server\?"):
        check_server(f"http://127.0.0.1:{server.server_port}")
