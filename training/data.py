"""Training records and how they are read: prompt with completion (SFT) and prompt with chosen and rejected (rewards).

A record file is JSONL. Each reader is one function from a JSON object to a record, so that another format is another
function. Every error names the file, the line and the field.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from reward.template import Message

Record = TypeVar("Record")


class DataError(ValueError):
    """A record cannot be used; the message names the file, the line and the field."""


@dataclass(frozen=True)
class Demonstration:
    """A conversation up to the assistant's turn, and the answer to imitate."""

    messages: tuple[Message, ...]
    completion: str


@dataclass(frozen=True)
class Preference:
    """A conversation up to the assistant's turn, a better and a worse answer, and by how much it is better."""

    messages: tuple[Message, ...]
    chosen: str
    rejected: str
    margin: float = 0.0


def read_jsonl(path: Path, parse: Callable[[Mapping[str, Any]], Record]) -> list[Record]:
    """Read one record a line. Raises DataError with file and line, also when the file holds no record."""
    records = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                records.append(parse(_json_object(line)))
            except DataError as error:
                raise DataError(f"{path}, line {number}: {error}") from None
    if not records:
        raise DataError(f"{path}: the file holds no records")
    return records


def demonstration(row: Mapping[str, Any]) -> Demonstration:
    """`{"prompt": text or messages, "completion": text}`."""
    return Demonstration(_conversation(row, "prompt"), _text(row, "completion"))


def preference(row: Mapping[str, Any]) -> Preference:
    """`{"prompt": text or messages, "chosen": text, "rejected": text, "margin"?: number}`."""
    chosen, rejected = _text(row, "chosen"), _text(row, "rejected")
    if chosen == rejected:
        raise DataError("field 'rejected': the same as 'chosen'")
    margin = row.get("margin", 0.0)
    if isinstance(margin, bool) or not isinstance(margin, int | float):
        raise DataError(f"field 'margin': expected a number, got {margin!r}")
    return Preference(_conversation(row, "prompt"), chosen, rejected, float(margin))


def _json_object(line: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"not JSON: {error}") from None
    if not isinstance(row, dict):
        raise DataError(f"expected a JSON object, got {type(row).__name__}")
    return row


def _text(row: Mapping[str, Any], name: str) -> str:
    """A string, or a list with one assistant message."""
    if name not in row:
        raise DataError(f"field {name!r}: missing")
    value = row[name]
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        value = value[0].get("content")
    if not isinstance(value, str):
        raise DataError(f"field {name!r}: expected text or one assistant message, got {value!r}")
    return value


def _conversation(row: Mapping[str, Any], name: str) -> tuple[Message, ...]:
    value = row.get(name)
    if isinstance(value, str):
        return ({"role": "user", "content": value},)
    if not isinstance(value, list) or not value:
        raise DataError(f"field {name!r}: expected text or a list of messages, got {value!r}")
    for index, message in enumerate(value):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise DataError(f"field {name!r}[{index}]: expected a message with a role, got {message!r}")
    return tuple(value)
