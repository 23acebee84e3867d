"""What every format shares: the error that names a field, and checks that turn a value from a file into one of ours.

Each check takes the value and the name of its field; null counts as missing, as Parquet fills absent fields with null.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from reprlib import Repr
from typing import Any

from reward.template import Message
from training.data.records import Conversation, user

Row = Mapping[str, Any]

_short = Repr()
_short.maxstring = _short.maxother = 80


class DataError(ValueError):
    """A record cannot be used; the message names the source, the line or row, and the field."""


@dataclass(frozen=True)
class Dropped:
    """A row that is in order but holds nothing to learn."""

    reason: str


@dataclass(frozen=True)
class Options:
    """What a row alone does not hold: the split to read, and how token ids become text."""

    split: str = "train"
    decode: Callable[[list[int]], str] | None = None


def expected(what: str, at: str, value: Any) -> DataError:
    """The error for a value that is not what its field holds."""
    return DataError(f"field {at!r}: " + ("missing" if value is None else f"expected {what}, got {_short.repr(value)}"))


def text(value: Any, at: str) -> str:
    """A string that can be written as UTF-8: half a surrogate pair would fail in the tokenizer, far from its row."""
    if not isinstance(value, str):
        raise expected("text", at, value)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"field {at!r}: character {error.start} is half of a surrogate pair") from None
    return value


def number(value: Any, at: str) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise expected("a number", at, value)
    return float(value)


def number_or_nan(value: Any, at: str) -> float:
    """A finite number; nan where none was given."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return math.nan
    return number(value, at)


def integer(value: Any, at: str, low: int, high: int) -> int:
    """A whole number from low to high."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise expected(f"a whole number from {low} to {high}", at, value)
    return value


def items(value: Any, at: str, what: str = "a list") -> list[Any]:
    """A list with something in it."""
    if not isinstance(value, list) or not value:
        raise expected(what, at, value)
    return value


def fields(value: Any, at: str) -> Row:
    """A JSON object."""
    if not isinstance(value, dict):
        raise expected("an object", at, value)
    return value


def texts(value: Any, at: str) -> tuple[str, ...]:
    """A list of texts."""
    return tuple(text(item, f"{at}[{index}]") for index, item in enumerate(items(value, at, "a list of texts")))


def messages(value: Any, at: str) -> Conversation:
    """A list of messages; their null fields are left out."""
    listed = items(value, at, "a list of messages")
    return tuple(_message(message, f"{at}[{index}]") for index, message in enumerate(listed))


def conversation(value: Any, at: str) -> Conversation:
    """A list of messages, or the text of one user message."""
    if isinstance(value, str):
        return user(text(value, at))
    if not isinstance(value, list) or not value:
        raise expected("text or a list of messages", at, value)
    return messages(value, at)


def answer(value: Any, at: str) -> str:
    """A text, or the content of one assistant message."""
    if not isinstance(value, list):
        if not isinstance(value, str):
            raise expected("text or one assistant message", at, value)
        return text(value, at)
    if len(value) != 1:
        raise DataError(f"field {at!r}: expected text or one assistant message, got {len(value)} messages")
    return assistant(messages(value, at)[0], f"{at}[0]")


def assistant(message: Message, at: str) -> str:
    """The content of an assistant message."""
    if message["role"] != "assistant":
        raise expected("an assistant message", f"{at}.role", message["role"])
    return text(message.get("content"), f"{at}.content")


def other_split(row: Row, options: Options) -> Dropped | None:
    """Dropped when the row belongs to another split than the one that is read.

    "validation" takes `valid1`, `valid2` and `val` as well, "all" takes every row; slices like `train[:10%]` choose
    rows of the whole source, not of this field.
    """
    wanted = {re.sub(r"\[.*", "", part) for part in options.split.split("+")}
    named = row.get("split")
    if named is None or "all" in wanted:
        return None
    names = {text(named, "split"), "validation" if named.startswith("val") else ""}
    return None if names & wanted else Dropped("of another split")


def _message(value: Any, at: str) -> Message:
    message = {name: part for name, part in fields(value, at).items() if part is not None}
    text(message.get("role"), f"{at}.role")
    content = message.get("content")
    if content is None and message.get("tool_calls"):
        return message
    if not isinstance(content, list):
        text(content, f"{at}.content")
    for index, part in enumerate(content if isinstance(content, list) else ()):
        _part(part, f"{at}.content[{index}]")
    return message


def _part(value: Any, at: str) -> None:
    if not isinstance(value, str | dict):
        raise expected("text or a part of a message", at, value)
    if isinstance(value, str):
        text(value, at)
    elif value.get("text") is not None:
        text(value["text"], f"{at}.text")
