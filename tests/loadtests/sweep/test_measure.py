import csv
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from bestofn_server.cli import app
from loadtests.sweep.measure import order
from loadtests.sweep.record import Cell, Record, Request, Settings, SweepError
from loadtests.sweep.report import to_csv, to_html
from loadtests.sweep.summary import summarise
from tests.server import API_KEY, Server

SETTINGS = Settings(
    best_of=(1, 8),
    clients=(1, 4),
    requests=3,
    repeats=2,
    warm_up=1,
    seed=0,
    model="",
    best_of_field="best_of",
    workload={"prompts": "arithmetic", "max_tokens": 8},
    prompts_sha256="a",
)


def cell(best_of: int, clients: int, repeat: int, turn: int, **last: object) -> Cell:
    """Three requests of 1, 2 and 3 seconds times N; `last` changes the last one."""
    requests = [
        Request(200, 0.0, seconds * best_of, 0.1, generated_tokens=10 * best_of, returned_tokens=10, reward=0.5)
        for seconds in (1.0, 2.0, 3.0)
    ]
    requests[-1] = replace(requests[-1], **last)  # type: ignore[arg-type]
    return Cell(best_of, clients, repeat, turn, wall_s=2.0 + repeat, requests=tuple(requests))


def record(**last: object) -> Record:
    cells = tuple(cell(p.best_of, p.clients, p.repeat, p.order, **last) for p in order(SETTINGS))
    machine = {"machine": {"processor": "some <CPU>", "cores": 2, "memory_gib": 4.0}, "versions": "Python 3"}
    server = {"models": ["arithmetic"], "versions": {}, "build_info": 'version="1"'}
    return Record(SETTINGS, server, machine, "bestofn sweep", "http://there", "2026-01-01T00:00:00+00:00", cells)


def test_each_repeat_measures_the_whole_grid_in_an_order_of_its_own() -> None:
    settings = replace(SETTINGS, best_of=(1, 2, 4, 8), clients=(1, 2, 4))
    places = list(order(settings))
    assert places == list(order(settings)) != list(order(replace(settings, seed=1)))
    assert [place.order for place in places] == list(range(24))
    first, second = places[:12], places[12:]
    assert {(p.best_of, p.clients) for p in first} == {(p.best_of, p.clients) for p in second} == set(settings.cells)
    assert [(p.best_of, p.clients) for p in first] != [(p.best_of, p.clients) for p in second]


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    kept = record()
    kept.write(tmp_path / "new" / "sweep.json")
    assert Record.read(tmp_path / "new" / "sweep.json") == kept


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"settings": replace(SETTINGS, requests=5)}, "requests was 3 and is 5"),
        ({"settings": replace(SETTINGS, workload={"prompts": "reviews"})}, "workload was "),
        ({"settings": replace(SETTINGS, prompts_sha256="b")}, "prompts_sha256 was 'a' and is 'b'"),
        ({"url": "http://elsewhere"}, "base_url was 'http://there' and is 'http://elsewhere'"),
        ({"server": {"models": ["other"]}}, "server was "),
        ({"measured_with": {"machine": {"cores": 64}}}, "machine was "),
    ],
)
def test_cells_of_another_sweep_are_not_added_to(tmp_path: Path, change: dict[str, object], said: str) -> None:
    path = tmp_path / "sweep.json"
    record().write(path)
    found = Record.read(path)
    found.check_resumable(replace(record(), cells=(), command="again"), path)
    with pytest.raises(SweepError) as caught:
        found.check_resumable(replace(record(), **change), path)  # type: ignore[arg-type]
    assert said in str(caught.value)
    assert "Give another --output" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "not JSON"), ("{}", "format"), ('{"format": "bestofn sweep 1", "url": 3}', "settings: Field required")],
)
def test_a_file_that_is_no_record_says_so(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "sweep.json"
    path.write_text(text)
    with pytest.raises(SweepError, match=said):
        Record.read(path)


def test_numbers_are_of_the_requests_that_succeeded() -> None:
    rows = summarise(record(status=429, retry_after_s=1.0, generated_tokens=0))
    assert [(row.best_of, row.clients) for row in rows] == [(1, 1), (1, 4), (8, 1), (8, 4)]
    row = rows[-1]
    assert (row.requests, row.succeeded, row.refused, row.failed) == (6, 4, 2, 0)
    assert row.p50_s.value == pytest.approx(12)
    assert 8 <= row.p50_s.low <= row.p50_s.value <= row.p50_s.high <= 16
    assert row.requests_per_second.value == pytest.approx((2 / 2 + 2 / 3) / 2)
    assert 0 <= row.requests_per_second.low < row.requests_per_second.value < row.requests_per_second.high
    assert (row.generated, row.returned, row.dollars) == (80, 10, None)
    assert row.reward is not None
    assert row.reward.value == 0.5


def test_a_cell_without_an_answer_has_no_number() -> None:
    kept = record(status=0, error="ConnectError: gone")
    nothing = replace(kept, cells=tuple(replace(c, requests=c.requests[-1:]) for c in kept.cells))
    assert all(math.isnan(row.p95_s.value) and row.failed == row.requests for row in summarise(nothing))
    assert "ConnectError: gone" in to_html(nothing)
    assert next(csv.DictReader(to_csv(nothing).splitlines()))["p95_s"] == ""


def test_the_page_needs_nothing_beside_itself_and_holds_the_table_and_pictures() -> None:
    page = to_html(record(dollars=0.25))
    assert page.count("<svg") == page.count("</svg>") == 3
    assert "some &lt;CPU&gt;" in page
    assert "dollars per 1000" in page
    assert not re.search(r"(src|href)=['\"](?!#)|url\((?!#)|@import", page)
    assert "<script" not in page
    assert page == to_html(record(dollars=0.25))
    for picture in page.split("<svg")[1:]:
        ElementTree.fromstring("<svg" + picture.partition("</svg>")[0] + "</svg>")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--best-of", "1,x"], "--best-of: expected positive numbers"),
        (["--clients", "0"], "--clients: expected positive numbers"),
        (["--workload", "nothing.yaml"], "nothing.yaml: No such file"),
        (["--base-url", "http://127.0.0.1:1/v1"], "ConnectError"),
        (["--requests", "40"], "--requests: must be a multiple of every value of --clients, 40 is not of [16]"),
        (["--requests", "3", "--clients", "1,4"], "every value of --clients, 3 is not of [4]"),
        (["--best-of-field", "m"], "--best-of-field"),
        (["--from", "nothing.json", "--requests", "3"], "--requests: has no meaning with --from"),
        (["--from", "nothing.json"], "nothing.json"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path: Path, options: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["sweep", "--output", str(tmp_path), *options])
    assert done.exit_code == 2
    assert said in done.output


def test_a_record_is_shown_again_beside_it_or_where_it_is_said(tmp_path: Path) -> None:
    path = tmp_path / "kept" / "sweep.json"
    record().write(path)
    elsewhere = tmp_path / "elsewhere"
    assert CliRunner().invoke(app, ["sweep", "--from", str(path), "--output", str(elsewhere)]).exit_code == 0
    assert sorted(file.name for file in elsewhere.iterdir()) == ["sweep.csv", "sweep.html"]
    assert [file.name for file in path.parent.iterdir()] == ["sweep.json"]
    assert CliRunner().invoke(app, ["sweep", "--from", str(path)]).exit_code == 0
    assert (path.parent / "sweep.html").read_text() == (elsewhere / "sweep.html").read_text()


@pytest.mark.engine
def test_a_sweep_goes_on_where_it_stopped_and_is_shown_again_from_its_record(server: Server, tmp_path: Path) -> None:
    grid = ["--best-of", "1,4", "--clients", "1,3", "--requests", "3", "--repeats", "1"]
    command = ["sweep", "--base-url", f"{server.url}/v1", "--api-key", API_KEY, "--output", str(tmp_path), *grid]
    whole = CliRunner().invoke(app, command)
    assert whole.exit_code == 0, whole.output
    path = tmp_path / "sweep.json"
    first = Record.read(path)
    assert {(c.best_of, c.clients) for c in first.cells} == {(1, 1), (1, 3), (4, 1), (4, 3)}
    assert all(request.ok and request.generated_tokens for c in first.cells for request in c.requests)
    assert 'version="' in first.server["build_info"]
    replace(first, cells=first.cells[:-1]).write(path)
    assert CliRunner().invoke(app, command).exit_code == 0
    resumed = Record.read(path)
    assert resumed.cells[:-1] == first.cells[:-1]
    assert resumed.cells[-1].place == first.cells[-1].place
    assert resumed.cells[-1] != first.cells[-1]
    other = CliRunner().invoke(app, [*command, "--seed", "1"])
    assert (other.exit_code, "seed was 0 and is 1" in other.output) == (2, True)

    page = (tmp_path / "sweep.html").read_text()
    table = (tmp_path / "sweep.csv").read_text()
    (tmp_path / "sweep.html").unlink()
    (tmp_path / "sweep.csv").unlink()
    assert CliRunner().invoke(app, ["sweep", "--from", str(path)]).exit_code == 0
    assert (tmp_path / "sweep.csv").read_text() == table
    assert json.loads(path.read_text())["format"] == "bestofn sweep 1"
    assert "All numbers" in page
    assert page == (tmp_path / "sweep.html").read_text()
