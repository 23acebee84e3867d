"""`bestofn label` with each of its labellers, from the command line to the file."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from bestofn_server.cli import app
from tests.training.openai_endpoint import completion, refusal, serving
from training.data.formats.native import to_row
from training.data.read import read_comparisons
from training.data.records import Comparison, user

PROMPT = user("What is 10+20+30?")
RIGHT, WRONG = "Answer: 60", "Answer: 61"


def write(path: Path, *drawn: Comparison) -> Path:
    path.write_text("".join(json.dumps(to_row(sample)) + "\n" for sample in drawn), encoding="utf-8")
    return path


def label(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["label", *map(str, arguments)])


@pytest.fixture
def candidates(tmp_path: Path) -> Path:
    drawn = [Comparison(PROMPT, (WRONG, RIGHT)), Comparison(user("What is 11+22+33?"), ("Answer: 66", "no", "1"))]
    return write(tmp_path / "candidates.jsonl", *drawn)


def test_gold_on_the_command_line(tmp_path: Path, candidates: Path) -> None:
    output = tmp_path / "folder" / "labelled.jsonl"
    result = label(candidates, "--output", output, "--by", "gold", "--lab", "arithmetic", "--noise", "0")
    assert result.exit_code == 0, result.output
    assert "2 labelled, 0 left out" in result.output
    assert [c.ranks for c in read_comparisons(str(output))[0]] == [(1, 0), (0, 1, 1)]
    row = json.loads(output.read_text(encoding="utf-8").splitlines()[0])
    assert row["labelled_by"] == {"by": "gold", "lab": "arithmetic", "kind": "ranking", "noise": 0.0, "seed": 0}
    again = label(candidates, "--output", output, "--by", "gold")
    assert again.exit_code == 2
    assert "already exists" in again.output


def test_a_judge_on_the_command_line(tmp_path: Path, candidates: Path) -> None:
    output, criteria = tmp_path / "labelled.jsonl", tmp_path / "criteria.txt"
    criteria.write_text("Be right.", encoding="utf-8")
    broken = True

    def right(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        system, material = (message["content"] for message in body["messages"])
        assert "Be right." in system
        if broken and "11+22+33" in material:
            return 400, refusal("no")
        first, second = material.split("===== response B")
        has = [any(answer in part for answer in (RIGHT, "Answer: 66")) for part in (first, second)]
        return 200, completion(json.dumps({"better": "tie" if has[0] == has[1] else "AB"[has.index(True)]}))

    asking = [candidates, "--output", output, "--by", "judge", "--criteria", criteria]
    with serving(right) as endpoint:
        first = label(*asking, "--judge-base-url", endpoint.url)
        broken = False
        second = label(*asking, "--judge-base-url", endpoint.url)
    assert first.exit_code == 1, first.output
    assert "1 records failed and can be asked again: BadRequestError: no" in first.output
    assert second.exit_code == 0, second.output
    assert len(endpoint.requests) == 2 + 1 + 6
    assert [c.ranks for c in read_comparisons(str(output))[0]] == [(1, 0), (0, 1, 1)]


def test_people_on_the_command_line(tmp_path: Path, candidates: Path) -> None:
    sheet, output = tmp_path / "sheet.csv", tmp_path / "labelled.jsonl"
    result = label(candidates, "--by", "file", "--export", sheet, "--kind", "best")
    assert result.exit_code == 0, result.output
    nothing = label(candidates, "--by", "file", "--import", sheet, "--output", output)
    assert nothing.exit_code == 2
    assert "nothing to write, 0 labelled, 2 left out (2 not filled in)" in nothing.output
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        header, first, second = csv.reader(file)
    first[4] = str(first.index(RIGHT))
    with sheet.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, first, second])
    result = label(candidates, "--by", "file", "--import", sheet, "--output", output)
    assert result.exit_code == 0, result.output
    assert "1 labelled, 1 left out (1 not filled in)" in result.output
    assert [c.ranks for c in read_comparisons(str(output))[0]] == [(1, 0)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--by", "gold"], "give --output"),
        (["--by", "gold", "--output", "o", "--lab", "geometry"], "no lab 'geometry'"),
        (["--by", "judge", "--output", "o", "--noise", "0.1"], "--noise: has no meaning with --by judge"),
        (["--by", "gold", "--output", "o", "--import", "s"], "--import: has no meaning with --by gold"),
        (["--by", "file"], "give --export or --import"),
        (["--by", "file", "--export", "s", "--output", "o"], "--export: has no meaning with --output"),
        (["--by", "file", "--export", "s", "--kind", "scores"], "--kind: people are asked"),
        (["--by", "dice", "--output", "o"], "dice"),
    ],
)
def test_bad_arguments_are_named(
    candidates: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(candidates.parent)
    result = label(candidates, *arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert {path.name for path in candidates.parent.iterdir()} == {"candidates.jsonl"}


def test_a_foreign_prompt_is_an_error(tmp_path: Path) -> None:
    source = write(tmp_path / "candidates.jsonl", Comparison(user("Who are you?"), ("a", "b")))
    result = label(source, "--by", "gold", "--output", tmp_path / "labelled.jsonl")
    assert result.exit_code == 2
    assert "not a question of the arithmetic lab" in result.output
