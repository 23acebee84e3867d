"""Grafana's dashboard as it is written: up to date, and every panel where nothing else is."""

import json

from scripts import dashboard


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
