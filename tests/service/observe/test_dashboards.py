"""The dashboards against real Prometheus and a real server: what a panel or a rule asks for has to be there."""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from openai import OpenAI
from prometheus_client.utils import floatToGoString

from measuring.server_process import free_port
from scripts import dashboard
from scripts.observe import DASHBOARDS, start, wait_ready, write_configuration
from scripts.tools import Prometheus
from service.observe.metrics import _SECONDS
from tests.prometheus import WITHIN_S, Watched
from tests.server import API_KEY, Server

CASES = [Path(__file__).with_name(name) for name in ("alert_cases.yml", "drift_cases.yml")]
RULES = [yaml.safe_load((DASHBOARDS / name).read_text()) for name in ("recording.yml", "alerts.yml")]
RECORDED = [rule for file in RULES for group in file["groups"] for rule in group["rules"] if "record" in rule]
ALERTS = [rule for file in RULES for group in file["groups"] for rule in group["rules"] if "alert" in rule]
PANELS = [panel for panel in json.loads(dashboard.DASHBOARD.read_text())["panels"] if panel["type"] != "row"]
VARIABLES = {"$job": ".*", "$instance": ".*", "$window": "1m", "$__rate_interval": "1m"}


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
    question: Any = [{"role": "user", "content": "What is 35+21+81?"}]
    with OpenAI(base_url=f"{server.url}/v1", api_key=API_KEY) as client:
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


def test_configuration_and_rules_are_prometheus_own(prometheus: Prometheus) -> None:
    # Checks the files of rules too, with its linter: the same series must not be recorded twice.
    subprocess.run([prometheus.promtool, "check", "config", "--lint-fatal", DASHBOARDS / "prometheus.yml"], check=True)


def test_alerts_fire_and_keep_silent(prometheus: Prometheus) -> None:
    subprocess.run([prometheus.promtool, "test", "rules", *CASES], check=True)
    firing = re.findall(r"labels: '(?:ALERTS)?\{alertname=\"(\w+)\"", "".join(path.read_text() for path in CASES))
    assert set(firing) == {alert["alert"] for alert in ALERTS}


def test_every_bound_that_a_rule_or_panel_reads_is_one_of_the_histograms() -> None:
    rules = [rule["expr"] for rule in [*RECORDED, *ALERTS]]
    read = re.findall(r'\ble="([^"]+)"', "".join([*rules, *panel_queries().values()]))
    assert read
    assert set(read) <= {floatToGoString(bound) for bound in _SECONDS}


def test_every_threshold_that_an_alert_names_is_defined() -> None:
    used = set(re.findall(r'bestofn:threshold\{name="(\w+)"\}', "".join(alert["expr"] for alert in ALERTS)))
    defined = {rule["labels"]["name"] for rule in RECORDED if rule["record"] == "bestofn:threshold"}
    assert used == defined


def test_quantiles_of_requests_are_taken_by_n() -> None:
    quantiles = [query for query in panel_queries().values() if "request_duration_seconds_bucket" in query]
    assert sum("sum by (le, best_of)" in query for query in quantiles) == 3
