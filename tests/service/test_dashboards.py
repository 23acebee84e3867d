"""The dashboards against real Prometheus and a real server: what a panel or a rule asks for has to be there."""

import json
import math
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from openai import OpenAI

from loadtests.serving import free_port
from scripts import dashboard
from scripts.observe import DASHBOARDS, check_server, start, wait_ready, write_configuration
from scripts.tools import Prometheus, find_prometheus
from tests.server import API_KEY, Server

CASES = [Path(__file__).with_name(name) for name in ("alert_cases.yml", "drift_cases.yml")]
RULES = [yaml.safe_load((DASHBOARDS / name).read_text()) for name in ("recording.yml", "alerts.yml")]
RECORDED = [rule for file in RULES for group in file["groups"] for rule in group["rules"] if "record" in rule]
ALERTS = [rule for file in RULES for group in file["groups"] for rule in group["rules"] if "alert" in rule]
PANELS = [panel for panel in json.loads(dashboard.DASHBOARD.read_text())["panels"] if panel["type"] != "row"]
VARIABLES = {"$job": ".*", "$instance": ".*", "$window": "1m", "$__rate_interval": "1m"}
WITHIN_S = 60


@pytest.fixture(scope="module")
def prometheus() -> Prometheus:
    found = find_prometheus()
    if found is None:
        pytest.skip("no Prometheus here: make tools")
    return found


class Watched:
    """A Prometheus that watches a server, once a second."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1"

    def get(self, path: str, **parameters: str) -> Any:
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self._url}/{path}?{query}", timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{path} {parameters}: {error.read().decode()}") from None

    def scraped_url(self) -> str:
        """Of its only target, which it finds a few seconds after its start."""
        ends_s = time.monotonic() + WITHIN_S
        while not (targets := self.get("targets")["activeTargets"]):
            assert time.monotonic() < ends_s
            time.sleep(0.2)
        return str(targets[0]["scrapeUrl"])

    def has_a_number(self, expression: str) -> bool:
        data = self.get("query", query=expression)
        values = [data["result"]] if data["resultType"] == "scalar" else [series["value"] for series in data["result"]]
        return any(math.isfinite(float(value)) for _, value in values)


@pytest.fixture(scope="module")
def watched(server: Server, prometheus: Prometheus, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """The shipped configuration and rules, with shorter intervals between scrapes and evaluations."""
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    configuration = write_configuration(folder, server.url)
    shipped = yaml.safe_load(configuration.read_text())
    configuration.write_text(
        yaml.safe_dump(shipped | {"global": {"scrape_interval": "1s", "evaluation_interval": "1s"}})
    )
    process = start(prometheus, configuration, port, folder / "data")
    try:
        wait_ready(process, port)
        yield Watched(port)
    finally:
        process.terminate()
        process.wait()


def ask(server: Server) -> None:
    """Requests for 1, 2, 4 and 8 candidates, streamed and not."""
    client = OpenAI(base_url=f"{server.url}/v1", api_key=API_KEY)
    question: Any = [{"role": "user", "content": "What is 35+21+81?"}]
    for best_of in (1, 2, 4, 8):
        client.chat.completions.create(model="arithmetic", messages=question, extra_body={"best_of": best_of})
        for _ in client.chat.completions.create(
            model="arithmetic", messages=question, stream=True, extra_body={"best_of": best_of}
        ):
            pass


def panel_queries() -> dict[str, str]:
    """ "title A" -> its PromQL, the dashboard's variables filled in."""
    queries = {}
    for panel in PANELS:
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            queries[f"{panel['title']} {target['refId']}"] = expression
    return queries


def recorded_series() -> dict[str, str]:
    return {
        f"{rule['record']} {rule.get('labels', '')}": rule["record"]
        + "{"
        + ", ".join(f'{name}="{value}"' for name, value in rule.get("labels", {}).items())
        + "}"
        for rule in RECORDED
    }


@pytest.mark.engine
def test_every_panel_and_every_recording_rule_has_data(server: Server, watched: Watched) -> None:
    waiting = panel_queries() | recorded_series()
    ends_s = time.monotonic() + WITHIN_S
    while waiting and time.monotonic() < ends_s:
        ask(server)
        waiting = {name: query for name, query in waiting.items() if not watched.has_a_number(query)}
    assert not waiting


@pytest.mark.engine
def test_every_alert_is_evaluated(watched: Watched) -> None:
    for alert in ALERTS:
        watched.get("query", query=alert["expr"])
    rules = {rule["name"]: rule for group in watched.get("rules")["groups"] for rule in group["rules"]}
    assert {name for name, rule in rules.items() if rule.get("lastError")} == set()
    assert {alert["alert"] for alert in ALERTS} <= set(rules)


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


def test_configuration_and_rules_are_prometheus_own(prometheus: Prometheus) -> None:
    # Checks the files of rules too, with its linter: the same series must not be recorded twice.
    subprocess.run([prometheus.promtool, "check", "config", "--lint-fatal", DASHBOARDS / "prometheus.yml"], check=True)


def test_alerts_fire_and_keep_silent(prometheus: Prometheus) -> None:
    subprocess.run([prometheus.promtool, "test", "rules", *CASES], check=True)
    firing = re.findall(r"labels: '(?:ALERTS)?\{alertname=\"(\w+)\"", "".join(path.read_text() for path in CASES))
    assert set(firing) == {alert["alert"] for alert in ALERTS}


def test_every_threshold_that_an_alert_names_is_defined() -> None:
    used = set(re.findall(r'bestofn:threshold\{name="(\w+)"\}', "".join(alert["expr"] for alert in ALERTS)))
    defined = {rule["labels"]["name"] for rule in RECORDED if rule["record"] == "bestofn:threshold"}
    assert used == defined


def test_dashboard_and_page_are_up_to_date() -> None:
    assert dashboard.DASHBOARD.read_text() == dashboard.as_json(), "make dashboard"
    assert dashboard.PAGE.read_text() == dashboard.as_page(), "make dashboard"


def test_every_panel_has_a_place_of_its_own() -> None:
    panels = json.loads(dashboard.DASHBOARD.read_text())["panels"]
    places = [panel["gridPos"] for panel in panels]
    cells = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert max(x for x, _ in cells) < 24
    assert len(cells) == len(set(cells))
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_quantiles_of_requests_are_taken_by_n() -> None:
    quantiles = [query for query in panel_queries().values() if "request_duration_seconds_bucket" in query]
    assert sum("sum by (le, best_of)" in query for query in quantiles) == 3
