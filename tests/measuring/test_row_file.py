from pathlib import Path

import pytest

from measuring.row_file import ResumeError, RowFile


def test_rows_survive_and_more_can_be_added(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "rows.jsonl"
    with RowFile(path, {"seed": 1}) as file:
        file.append([{"a": "é\n"}, {"a": 2}])
    with RowFile(path, {"seed": 1}) as file:
        assert [row["a"] for row in file.rows] == ["é\n", 2]
        file.append([{"a": 3}])
        assert [row["a"] for row in file.rows] == ["é\n", 2, 3]
    assert len(path.read_text(encoding="utf-8").splitlines()) == 3


def test_a_line_that_was_cut_off_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with RowFile(path, {}) as file:
        file.append([{"a": 1}, {"a": 2}])
    path.write_bytes(path.read_bytes()[:-5])
    with RowFile(path, {}) as file:
        assert [row["a"] for row in file.rows] == [1]
        file.append([{"a": 3}])
    with RowFile(path, {}) as file:
        assert [row["a"] for row in file.rows] == [1, 3]


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with RowFile(path, {"seed": 1, "model": "m"}) as file:
        file.append([{"a": 1}])
    with pytest.raises(ResumeError, match=r"rows\.jsonl, line 1: made with seed = 1, which is now 2"):
        RowFile(path, {"seed": 2, "model": "m"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"prompt": "q", "responses": ["a"]}\n', "line 1: field 'made_with': missing"),
        ("hello\n", "line 1: not JSON"),
        ("[]\n", "line 1: field 'made_with': missing"),
        ("a thesis without a line end", "holds no whole line"),
    ],
)
def test_a_foreign_file_is_refused_and_left_alone(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ResumeError, match=message):
        RowFile(path, {})
    assert path.read_text(encoding="utf-8") == content
