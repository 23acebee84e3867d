"""`bestofn sweep`: its options, and a whole sweep of the real server."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bestofn_server.cli import app
from loadtests.sweep.record import SweepRecord
from tests.loadtests.sweep.records import record
from tests.server import API_KEY, Server


@pytest.mark.parametrize(
    ("options", "message"),
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
def test_what_cannot_be_done_is_an_error(tmp_path: Path, options: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["sweep", "--output", str(tmp_path), *options])
    assert done.exit_code == 2
    assert message in done.output


def test_a_record_is_shown_again_beside_it_or_in_another_folder(tmp_path: Path) -> None:
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
    first = SweepRecord.read(path)
    assert {(c.best_of, c.clients) for c in first.cells} == {(1, 1), (1, 3), (4, 1), (4, 3)}
    assert all(request.ok and request.generated_tokens for c in first.cells for request in c.requests)
    assert 'version="' in first.server["build_info"]
    replace(first, cells=first.cells[:-1]).write(path)
    assert CliRunner().invoke(app, command).exit_code == 0
    resumed = SweepRecord.read(path)
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
