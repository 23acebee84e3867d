"""Writes Grafana's dashboard "Cost versus N", and the page of docs/ that explains it, from `dashboard_panels`.

python3.11 -m scripts.dashboard
"""

import json
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from scripts.dashboard_panels import ROWS, Panel, PromQuery

ROOT = Path(__file__).resolve().parent.parent
DASHBOARD = ROOT / "service/observe/dashboards/grafana/cost_versus_n.json"
PAGE = ROOT / "docs/dashboard.md"

_WIDTH = 24  # of Grafana's grid
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_ABOUT = "What best-of-N costs and what it buys. Needs the recording rules of service/observe/dashboards/recording.yml."
_PAGE_TOP = """\
# How to read the dashboard "Cost versus N"

<!-- Made by `make dashboard` from the dashboard's own texts; change them in scripts/dashboard_panels.py. -->

`make observe` or `docker compose up` brings Prometheus; compose brings Grafana with this dashboard too. Elsewhere load
`recording.yml` and `alerts.yml` into your Prometheus and import `cost_versus_n.json`, all of them in
`service/observe/dashboards`.

N is the number of candidates that was planned for each prompt of a request, rounded up to a power of two: temperature
0 and `--slo-p99-ms` make it smaller than the `best_of` that was asked for. At the top choose the job and the instances,
and the window over which figures by N are averaged: longer is steadier, shorter is sooner. The panels of money stay
empty until the server knows prices (`--gpu-hour-dollars 2.5`).
"""


def main() -> None:
    DASHBOARD.write_text(as_json())
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(as_page())


def as_json() -> str:
    """The dashboard, as Grafana 12 keeps and imports it (schema version 41)."""
    dashboard = {
        "uid": "bestofn-cost-versus-n",
        "title": "bestofn: Cost versus N",
        "description": _ABOUT,
        "tags": ["bestofn", "vllm"],
        "schemaVersion": 41,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": [_annotation()]},
        "templating": {"list": _variables()},
        "links": [],
        "panels": _panels(),
    }
    return json.dumps(dashboard, indent=2, ensure_ascii=False) + "\n"


def as_page() -> str:
    """The same texts to read before there is a dashboard, as Markdown."""
    parts = [_PAGE_TOP]
    for row, panels in ROWS.items():
        parts.append(f"## {row}\n")
        parts += [f"**{panel.title}.** {panel.text}\n" for panel in panels]
    return "\n".join(parts)


def _panels() -> list[dict[str, Any]]:
    placed: list[dict[str, Any]] = []
    y = 0
    for row, panels in ROWS.items():
        place = {"x": 0, "y": y, "w": _WIDTH, "h": 1}
        placed.append(
            {"id": len(placed) + 1, "type": "row", "title": row, "collapsed": False, "gridPos": place, "panels": []}
        )
        y, x = y + 1, 0
        for panel in panels:
            if x + panel.width > _WIDTH:
                y, x = y + panel.height, 0
            place = {"x": x, "y": y, "w": panel.width, "h": panel.height}
            placed.append(_panel(panel, len(placed) + 1, place))
            x += panel.width
        y += panels[-1].height
    return placed


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": _overrides(panel)},
        "options": _STAT if panel.kind == "stat" else _TIME_SERIES,
        "targets": [_target(query, letter) for letter, query in _lettered(panel)],
    }


def _lettered(panel: Panel) -> list[tuple[str, PromQuery]]:
    """Grafana calls the queries of a panel A, B, C, ..."""
    return list(zip(ascii_uppercase, panel.queries, strict=False))


def _target(query: PromQuery, letter: str) -> dict[str, Any]:
    return {
        "refId": letter,
        "datasource": _SOURCE,
        "editorMode": "code",
        "expr": query.expression,
        "legendFormat": query.legend,
        "range": True,
        "instant": False,
    }


_TIME_SERIES = {
    "legend": {"displayMode": "table", "placement": "right", "showLegend": True, "calcs": ["lastNotNull"]},
    "tooltip": {"mode": "multi", "sort": "desc"},
}
_STAT = {
    "graphMode": "area",
    "colorMode": "value",
    "justifyMode": "auto",
    "textMode": "auto",
    "wideLayout": True,
    "showPercentChange": False,
    "percentChangeColorMode": "standard",
    "orientation": "auto",
    "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
}


def _defaults(panel: Panel) -> dict[str, Any]:
    colors = [{"color": "green", "value": None}, *({"color": color, "value": at} for at, color in panel.thresholds)]
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        # By name: one N has one colour in every panel.
        "color": {"mode": "thresholds" if panel.kind == "stat" else "palette-classic-by-name"},
        "thresholds": {"mode": "absolute", "steps": colors},
        "mappings": [],
    }
    if panel.minimum is not None:
        defaults["min"] = panel.minimum
    if panel.maximum is not None:
        defaults["max"] = panel.maximum
    if panel.words:
        options = {str(value): {"text": text, "index": value} for value, text in enumerate(panel.words)}
        defaults["mappings"] = [{"type": "value", "options": options}]
    if panel.kind == "timeseries":
        defaults["custom"] = {
            "drawStyle": "line",
            "lineWidth": 2,
            "fillOpacity": 30 if panel.stacked else 0,
            "showPoints": "never",
            "spanNulls": False,
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "line" if panel.thresholds else "off"},
        }
    return defaults


def _overrides(panel: Panel) -> list[dict[str, Any]]:
    dash = {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 8]}}
    return [
        {"matcher": {"id": "byFrameRefID", "options": letter}, "properties": [dash]}
        for letter, query in _lettered(panel)
        if query.dashed
    ]


def _variables() -> list[dict[str, Any]]:
    windows = ["5m", "15m", "1h", "6h", "1d"]
    return [
        {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "refresh": 1},
        _label_variable("job", "Job", "bestofn_build_info"),
        _label_variable("instance", "Instances", 'bestofn_build_info{job=~"$job"}'),
        {
            "name": "window",
            "label": "Average over",
            "type": "interval",
            "query": ",".join(windows),
            "current": {"text": "15m", "value": "15m"},
            "options": [{"selected": window == "15m", "text": window, "value": window} for window in windows],
            "auto": False,
        },
    ]


def _label_variable(label: str, title: str, series: str) -> dict[str, Any]:
    query = f"label_values({series}, {label})"
    return {
        "name": label,
        "label": title,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
        "options": [],
    }


def _annotation() -> dict[str, Any]:
    return {
        "name": "Alerts",
        "datasource": _SOURCE,
        "enable": True,
        "iconColor": "red",
        "expr": 'ALERTS{alertname=~"Bestofn.*", alertstate="firing"}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{instance}} {{slo}} {{best_of}}",
    }


if __name__ == "__main__":
    main()
