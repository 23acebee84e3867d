"""Files that are there whole or not at all, whenever the process is killed."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """`write` a file beside `path`, which then takes its place."""
    partial = path.with_name(path.name + ".partial")
    write(partial)
    partial.replace(path)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """One object, indented for people."""
    text = json.dumps(values, indent=2) + "\n"
    write_whole(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """JSONL."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    write_whole(path, lambda partial: partial.write_text(text, encoding="utf-8"))
