import json
from pathlib import Path

import pytest

from measuring.whole_file import write_json, write_rows, write_whole


def test_a_file_that_fails_half_way_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "values.json"
    write_json(path, {"a": 1})

    def fail(partial: Path) -> None:
        partial.write_text('{"a"')
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        write_whole(path, fail)
    assert json.loads(path.read_text()) == {"a": 1}


def test_an_object_and_rows_are_json(tmp_path: Path) -> None:
    write_json(tmp_path / "one.json", {"text": "é", "n": 1})
    write_rows(tmp_path / "many.jsonl", ({"n": n} for n in range(2)))
    assert json.loads((tmp_path / "one.json").read_text()) == {"text": "é", "n": 1}
    assert [json.loads(line) for line in (tmp_path / "many.jsonl").read_text().splitlines()] == [{"n": 0}, {"n": 1}]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["many.jsonl", "one.json"]
