"""Real locust in processes of its own, against a real server."""

import csv
import json
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from loadtests.bench.overload import LOCUSTFILE, counters, differences, read_run
from measuring.client import connect
from measuring.server_process import free_port
from tests.server import API_KEY, Server

_PATIENCE_S = 60


@contextmanager
def locust(server: Server, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--host", server.url, "--api-key", API_KEY]
    with subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Status and output."""
    output, _ = process.communicate(timeout=_PATIENCE_S)
    return process.returncode, output


def headless(users: int, seconds: int, *options: str) -> Sequence[str]:
    return [*f"--headless -u {users} -r {users} -t {seconds} --stop-timeout 60 --only-summary".split(), *options]


@pytest.mark.engine
async def test_locust_counts_what_the_server_counts_and_keeps_it_in_files(server: Server, tmp_path: Path) -> None:
    server.wait_idle()
    async with connect(server.url, api_key=API_KEY, clients=1) as client:
        before = await counters(client)
    files = [
        "--csv",
        str(tmp_path / "load"),
        "--html",
        str(tmp_path / "load.html"),
        "--json-file",
        str(tmp_path / "load"),
    ]
    kept = ["--slo-p95-ms", "60000", "--slo-p95-ms", "1:60000", "--slo-error-rate", "0", "--slo-refusal-rate", "0"]
    with locust(server, *headless(4, 4, *files, *kept)) as process:
        status, output = ended(process)
    assert status == 0, output
    run = read_run(status, json.loads((tmp_path / "load.json").read_text()))
    assert run.post.requests > 0
    async with connect(server.url, api_key=API_KEY, clients=1) as client:
        assert differences(before, await counters(client), run) == []
    with (tmp_path / "load_stats.csv").open() as lines:
        rows = {(row["Type"], row["Name"]): row for row in csv.DictReader(lines)}
    tokens = rows["tokens", "chat best_of=1 generated"]
    assert float(tokens["Average Response Time"]) > 1
    assert ("ms", "chat best_of=1 stream first byte") in rows
    posts = sum(int(row["Request Count"]) for (kind, _), row in rows.items() if kind == "POST")
    assert posts == int(rows["", "Aggregated"]["Request Count"]) == run.post.requests
    assert "chat best_of=1 stream first byte" in (tmp_path / "load.html").read_text()


@pytest.mark.engine
def test_a_missed_objective_is_the_exit_status_and_one_line(server: Server) -> None:
    with locust(server, *headless(2, 2, "--slo-p95-ms", "1", "--shape", "step")) as process:
        status, output = ended(process)
    assert status == 1
    (line,) = [line for line in output.splitlines() if "SLO missed" in line]
    assert "p95 of all requests: " in line
    assert "the limit is 1 ms" in line


@pytest.mark.engine
def test_a_master_judges_what_its_worker_saw(server: Server) -> None:
    port = str(free_port())
    limits = ["--slo-p95-ms", "1"]
    with (
        locust(
            server, "--master", "--master-bind-port", port, "--expect-workers", "1", *headless(2, 2, *limits)
        ) as master,
        locust(server, "--worker", "--master-port", port, *limits) as worker,
    ):
        status, output = ended(master)
        worker_status, worker_output = ended(worker)
    assert status == 1, output
    assert "there was no answer" not in output
    assert re.search(r"^tokens +chat best_of=\d generated", output, re.MULTILINE), output
    assert output.count("SLO missed") == 1
    assert worker_status == 0, worker_output
    assert "SLO missed" not in worker_output


@pytest.mark.engine
def test_the_web_page_starts_users(server: Server) -> None:
    port = free_port()
    page = f"http://127.0.0.1:{port}"
    with locust(server, "--web-port", str(port), "--web-host", "127.0.0.1"):
        assert "Locust" in wait_for(page)
        form = urllib.parse.urlencode({"user_count": 2, "spawn_rate": 2, "host": server.url}).encode()
        with urllib.request.urlopen(f"{page}/swarm", form, timeout=_PATIENCE_S) as answer:
            assert json.load(answer)["success"]
        ends_s = time.monotonic() + _PATIENCE_S
        while not (counted := json.loads(wait_for(f"{page}/stats/requests"))["stats"])[-1]["num_requests"]:
            assert time.monotonic() < ends_s, counted
            time.sleep(0.2)
        assert counted[-1]["num_failures"] == 0
    server.wait_idle()


def wait_for(url: str) -> str:
    """A page, as soon as there is one."""
    ends_s = time.monotonic() + _PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=_PATIENCE_S) as answer:
                text: str = answer.read().decode()
                return text
        except OSError:
            assert time.monotonic() < ends_s, f"nothing at {url}"
            time.sleep(0.2)


PROGRAM = """
import json, sys, time
from locust.env import Environment
from loadtests import locustfile

def judged(requests):
    environment = Environment()
    environment.create_local_runner()
    locustfile.time_answers(environment)
    for method, name, ms, failed in requests:
        environment.events.request.fire(
            request_type=method, name=name, response_time=ms, response_length=0, context={},
            start_time=time.time() - 9, exception=OSError("refused") if failed else None,
        )
    counted = locustfile.only_counted_errors(environment)
    environment.runner.log_exception("local", "KeyError", "in the load test itself")
    seen = locustfile.seen(environment)
    began = [entry.start_time for entry in environment.stats.entries.values() if entry.method == "ms"]
    return {
        "seen": [seen.answered, seen.failed], "p95_ms": {str(n): ms for n, ms in seen.p95_ms.items()},
        "counted": [counted, locustfile.only_counted_errors(environment)],
        "since its sending": all(time.time() - moment >= 9 for moment in began),
    }

print(json.dumps({name: judged(requests) for name, requests in json.loads(sys.argv[1]).items()}))
"""
REQUESTS: dict[str, list[object]] = {
    "failures are no answers": [
        ["POST", "chat best_of=8", 900, False],
        *[["POST", "chat best_of=8 stream", 1, True]] * 50,
    ],
    "no answer at all": [["POST", "chat best_of=8", 1, True]],
    "requests of another locustfile": [["POST", "/v1/chat=best", 700, False], ["GET", "/health", 1, True]],
}


@pytest.fixture(scope="module")
def judged() -> dict[str, dict[str, object]]:
    """In a process of its own: locust patches the sockets of the one that imports it."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(REQUESTS)], capture_output=True, text=True, check=True
    )
    found: dict[str, dict[str, object]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("failures are no answers", {"seen": [1, 50], "p95_ms": {"None": 900, "8": 900}, "counted": [True, False]}),
        ("no answer at all", {"seen": [0, 1], "p95_ms": {}, "counted": [True, False]}),
        ("requests of another locustfile", {"seen": [1, 0], "p95_ms": {"None": 700}, "counted": [False, False]}),
    ],
)
def test_objectives_are_judged_by_what_was_answered(
    judged: dict[str, dict[str, object]], name: str, expected: dict[str, object]
) -> None:
    assert judged[name] == expected | {"since its sending": True}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--workload", "nothing.yaml"], "--workload: nothing.yaml: No such file"),
        (["--slo-p95-ms", "fast"], "--slo-p95-ms: expected milliseconds"),
    ],
)
def test_an_option_that_is_wrong_is_named(options: list[str], message: str) -> None:
    nobody = Server("http://127.0.0.1:1", subprocess.Popen(["true"]), Path())  # never asked
    with locust(nobody, *headless(1, 1, *options)) as process:
        status, output = ended(process)
    nobody.process.wait()
    assert status not in (0, None)
    assert message in output
