"""A real server in a process of its own: the models of the lab arithmetic, real vLLM."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from measuring.server_process import QUIET, free_port

API_KEY = "test-key"
ALLOWED_ORIGIN = "http://elsewhere.example"
_START_S = 600


@dataclass(frozen=True)
class Server:
    """A running server. url has no trailing slash and no /v1."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def get(self, path: str) -> tuple[int, str]:
        """Status and body."""
        return self._send(urllib.request.Request(self.url + path, headers=self.headers))

    def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """Status and parsed body; `body` is sent as JSON, or as it is when it is bytes."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, self.headers | (headers or {}))
        status, text = self._send(request)
        return status, json.loads(text)

    def metric(self, name: str, **labels: str) -> float:
        """Sum over the samples of a metric that carry all of `labels`."""
        pattern = re.compile(rf"^{re.escape(name)}(?:\{{(.*)\}})? (\S+)$", re.MULTILINE)
        samples = pattern.findall(self.get("/metrics")[1])
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(float(value) for text, value in samples if all(label in text for label in wanted))

    def engine_pids(self) -> list[int]:
        """The engines' core processes: generator first, then the reward model."""
        children = psutil.Process(self.process.pid).children()
        cores = [child for child in children if child.name() == "VLLM::EngineCore"]
        return [child.pid for child in sorted(cores, key=lambda child: child.create_time())]

    def wait_idle(self, within_s: float = 10) -> None:
        """Until nothing runs or waits in the generator and no candidate is in flight."""
        ends_s = time.monotonic() + within_s
        busy = ("vllm:num_requests_running", "vllm:num_requests_waiting", "bestofn_candidates_in_flight")
        while any(self.metric(name) for name in busy):
            assert time.monotonic() < ends_s, {name: self.metric(name) for name in busy}
            time.sleep(0.1)
        time.sleep(0.3)  # a request gives its places back a moment before it is counted

    def stop(self) -> None:
        """As a supervisor ends it; then whatever of it is left."""
        alive = self.process.poll() is None
        children = psutil.Process(self.process.pid).children(recursive=True) if alive else []
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for child in psutil.wait_procs(children, timeout=10)[1]:
            child.kill()

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"}

    def _send(self, request: urllib.request.Request) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


@contextmanager
def running(
    log: Path, options: Sequence[str] = (), environment: dict[str, str] | None = None, *, model: str = "arithmetic"
) -> Iterator[Server]:
    """Start `bestofn serve`, wait until it is ready, and stop it at the end."""
    port = free_port()
    command = [sys.executable, "-m", "bestofn_server", "serve", model, "--port", str(port)]
    command += ["--api-key", API_KEY, *options]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **QUIET, **(environment or {})}
        )
    server = Server(f"http://127.0.0.1:{port}", process, log)
    try:
        _wait_ready(server)
        yield server
    finally:
        server.stop()


def _wait_ready(server: Server) -> None:
    ends_s = time.monotonic() + _START_S
    while time.monotonic() < ends_s:
        if server.process.poll() is not None:
            break
        try:
            if server.get("/ready")[0] == 200:
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"the server did not start:\n{server.log.read_text()[-5000:]}")
