"""Sheets for people: what they show, and what comes back from them."""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from training.data.read import DataError
from training.data.records import Comparison, user
from training.samples.label.labels import ALL_TIED
from training.samples.label.people import BLANK, export_sheet, import_sheet

PROMPT = user("What is 10+20+30?")


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
