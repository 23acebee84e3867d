"""`bestofn label`: the lab's labeller, people with a spreadsheet, and the command around all labellers."""

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from bestofn_server.cli import app
from tests.training.openai_endpoint import completion, refusal, serving
from training.data.formats.native import to_row
from training.data.read import DataError, read_comparisons
from training.data.records import Comparison, user
from training.labs import lab
from training.samples.label import gold
from training.samples.label.labels import ALL_TIED, NOTHING_TO_COMPARE, Labelled
from training.samples.label.people import BLANK, export_sheet, import_sheet

PROMPT = user("What is 10+20+30?")
RIGHT, WRONG = "Answer: 60", "Answer: 61"


def labelled(*responses: str, kind: str = "ranking", noise: float = 0.0, count: int = 1) -> Labelled:
    drawn = [Comparison(PROMPT, responses, scores={"reward": (0.0,) * len(responses)}, margin=1.0, weight=2.0)] * count
    return gold.label(lab("arithmetic"), drawn, kind=kind, noise=noise, seed=0)


def test_gold_ranks_different_answers_and_forgets_what_was_known() -> None:
    (one,) = labelled(WRONG, RIGHT, WRONG, "60").comparisons
    assert one == Comparison(PROMPT, (WRONG, RIGHT, "60"), ranks=(1, 0, 1), weight=2.0)


def test_gold_names_one_best_whatever_ties_with_it() -> None:
    others = [RIGHT, f" {RIGHT}", f"\n{RIGHT}"]
    assert [lab("arithmetic").gold(PROMPT, text) for text in others] == [1, 0, 1]
    best = Counter(c.best for c in labelled(WRONG, RIGHT, f"\n{RIGHT}", kind="best", count=200).comparisons)
    assert set(best) == {1, 2}
    assert 60 < best[1] < 140


def test_gold_scores_every_answer() -> None:
    (one,) = labelled(WRONG, RIGHT, kind="scores").comparisons
    assert one.scores == {"score": (0.0, 1.0)}
    assert not one.ranks


def test_gold_says_what_it_leaves_out() -> None:
    drawn = [Comparison(PROMPT, (WRONG, "61")), Comparison(PROMPT, (RIGHT, RIGHT)), Comparison(PROMPT, (RIGHT, WRONG))]
    result = gold.label(lab("arithmetic"), drawn, kind="ranking", noise=0.0, seed=0)
    assert result.left_out == {ALL_TIED: 1, NOTHING_TO_COMPARE: 1}
    assert result.summary() == f"1 labelled, 2 left out (1 {ALL_TIED}, 1 {NOTHING_TO_COMPARE})"


def test_noise_turns_labels_over_as_often_as_it_should() -> None:
    noisy = labelled(RIGHT, WRONG, noise=0.3, count=2000).comparisons
    turned = sum(c.best == 1 for c in noisy) / len(noisy)
    assert turned == pytest.approx(0.09 / (0.09 + 0.49), abs=0.04)
    assert len(noisy) / 2000 == pytest.approx(0.58, abs=0.04)


NASTY = ["=1+1", "+49", "-3", "@x", "\tx", "two\nlines; and, more", 'a "quote"', "é", "x" * 40_000]


def exported(path: Path, drawn: list[Comparison], question: Any = "best", seed: int = 0) -> list[list[str]]:
    export_sheet(drawn, path, question=question, seed=seed)
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def fill(path: Path, rows: list[list[str]], delimiter: str = ",", encoding: str = "utf-8") -> None:
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)


def test_a_sheet_shows_everything_and_no_formula(tmp_path: Path) -> None:
    drawn = [Comparison(user("=cmd()"), tuple(NASTY)), Comparison(user("q"), ("a", "b")), Comparison(PROMPT, ("a",))]
    header, first, second = exported(tmp_path / "sheet.csv", drawn)
    assert header == ["prompt", *(f"response_{place}" for place in range(1, 10)), "best", "id"]
    assert first[0] == "'=cmd()"
    assert not any(cell.startswith(("=", "+", "-", "@", "\t")) for cell in first)
    assert {"'=1+1", "'@x", "two\nlines; and, more", 'a "quote"', "é"} <= set(first)
    assert max(map(len, first)) < 32_767
    assert any(cell.endswith("x [8000 more characters]") for cell in first)
    assert (sorted(second[1:3]), second[3:11]) == (["a", "b"], [""] * 8)


def test_the_order_of_responses_is_spread_out(tmp_path: Path) -> None:
    drawn = [Comparison(user(str(index)), ("a", "b", "c")) for index in range(300)]
    rows = exported(tmp_path / "sheet.csv", drawn)[1:]
    assert all(80 < count < 120 for count in Counter(row[1] for row in rows).values())
    assert rows == exported(tmp_path / "again.csv", drawn)[1:]
    assert rows != exported(tmp_path / "other.csv", drawn, seed=1)[1:]


@pytest.mark.parametrize(("delimiter", "encoding"), [(",", "utf-8"), (";", "utf-8-sig"), ("\t", "utf-8")])
def test_a_filled_sheet_comes_back(tmp_path: Path, delimiter: str, encoding: str) -> None:
    path = tmp_path / "sheet.csv"
    drawn = [Comparison(user(str(index)), ("a", "good", "c", "a")) for index in range(20)]
    header, *rows = exported(path, drawn)
    for row in rows[:-1]:
        row[4] = f" {1 + row[1:4].index('good')} "
    fill(path, [header, *rows], delimiter, encoding)
    result = import_sheet(drawn, path)
    assert [(c.responses, c.ranks) for c in result.comparisons] == [(("a", "good", "c"), (1, 0, 1))] * 19
    assert [c.messages for c in result.comparisons] == [c.messages for c in drawn[:-1]]
    assert result.left_out == {BLANK: 1}


def test_a_ranking_comes_back_with_its_ties(tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    drawn = [Comparison(user(str(index)), ("a", "b", "c")) for index in range(5)]
    header, *rows = exported(path, drawn, "ranking")
    for row in rows[:-1]:
        place = {text: str(1 + row[1:4].index(text)) for text in "abc"}
        row[4] = f"{place['c']} > {place['a']}={place['b']}"
    rows[-1][4] = "1=2=3"
    fill(path, [header, *rows])
    result = import_sheet(drawn, path)
    assert [c.ranks for c in result.comparisons] == [(1, 1, 0)] * 4
    assert result.left_out == {ALL_TIED: 1}


@pytest.mark.parametrize(
    ("question", "column", "value", "message"),
    [
        ("best", 5, "x", r"row 3: best: expected 1\.\.4, got 'x'"),
        ("best", 5, "5", r"row 3: best: expected 1\.\.4, got '5'"),
        ("best", 5, "0", r"row 3: best: expected 1\.\.4, got '0'"),
        ("ranking", 5, "1>2>3", r"row 3: ranking: expected each of 1\.\.4 once, such as 2>1=3, got '1>2>3'"),
        ("ranking", 5, "1>2>3>3", "row 3: ranking: expected each"),
        ("best", 6, "7", "row 3: id: expected the id as it was exported, got '7'"),
        ("best", 6, "r0123456789abcdef:0-1-2-3", "row 3: id: .* is not of these records"),
    ],
)
def test_a_wrong_cell_is_named(tmp_path: Path, question: Any, column: int, value: str, message: str) -> None:
    path = tmp_path / "sheet.csv"
    drawn = [Comparison(user(str(index)), ("a", "b", "c", "d")) for index in range(3)]
    rows = exported(path, drawn, question)
    rows[2][column] = value
    fill(path, rows)
    with pytest.raises(DataError, match=rf"sheet\.csv, {message}"):
        import_sheet(drawn, path)


def test_a_sheet_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    drawn = [Comparison(user("q"), ("a", "b"))]
    header, row = exported(path, drawn)
    fill(path, [header, row, row])
    with pytest.raises(DataError, match=r"row 3: id: .* comes twice"):
        import_sheet(drawn, path)
    fill(path, [["prompt", "a"], ["1", "2"]])
    with pytest.raises(DataError, match="expected the columns 'id' and 'best' or 'ranking', found prompt, a"):
        import_sheet(drawn, path)
    path.write_bytes(b"prompt,best,id\n\xe9,1,2\n")
    with pytest.raises(DataError, match="not UTF-8"):
        import_sheet(drawn, path)
    with pytest.raises(DataError, match="No such file"):
        import_sheet(drawn, tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match="already exists"):
        export_sheet(drawn, path, question="best", seed=0)


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
    fill(sheet, [header, first, second])
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
