import json
from pathlib import Path
from typing import Any

import pytest

from training.data import DataError, Demonstration, Preference, demonstration, preference, read_jsonl


def write(path: Path, *rows: Any) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_reads_texts_and_messages(tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
    path = write(
        tmp_path / "data.jsonl",
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        "",
        {"prompt": messages, "chosen": [{"role": "assistant", "content": "a"}], "rejected": "b", "margin": 1},
    )
    first, second = read_jsonl(path, preference)
    assert first == Preference(({"role": "user", "content": "q"},), "a", "b", 0.0)
    assert second == Preference(tuple(messages), "a", "b", 1.0)
    path = write(tmp_path / "sft.jsonl", {"prompt": "q", "completion": "a"})
    assert read_jsonl(path, demonstration) == [Demonstration(({"role": "user", "content": "q"},), "a")]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "not JSON"),
        ("[]", "expected a JSON object, got list"),
        ({"prompt": "q", "chosen": "a"}, "field 'rejected': missing"),
        ({"prompt": "q", "chosen": 3, "rejected": "b"}, "field 'chosen': expected text"),
        ({"prompt": "q", "chosen": "a", "rejected": "a"}, "field 'rejected': the same"),
        ({"prompt": [], "chosen": "a", "rejected": "b"}, "field 'prompt': expected text or a list"),
        ({"prompt": [{"content": "q"}], "chosen": "a", "rejected": "b"}, r"field 'prompt'\[0\]: expected a message"),
        ({"prompt": "q", "chosen": "a", "rejected": "b", "margin": "big"}, "field 'margin'"),
    ],
)
def test_an_error_names_file_line_and_field(tmp_path: Path, row: Any, message: str) -> None:
    path = write(tmp_path / "data.jsonl", {"prompt": "q", "chosen": "a", "rejected": "b"}, row)
    with pytest.raises(DataError, match=rf"data\.jsonl, line 2: .*{message}"):
        read_jsonl(path, preference)


def test_an_empty_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no records"):
        read_jsonl(write(tmp_path / "data.jsonl"), preference)
