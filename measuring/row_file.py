"""A JSONL file that grows by whole lines, so that an interrupted command is resumed where it stopped."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

Row = Mapping[str, Any]

MADE_WITH = "made_with"


class ResumeError(ValueError):
    """The file on disk was made by something else; the message names file, line and setting."""


class RowFile:
    """The rows that are in the file, and `append` for more; a context manager.

    Each row carries `settings` under `made_with`. Raises ResumeError where the file holds rows that were made with
    other settings, or that this class did not write. A last line that was cut off is removed.
    """

    def __init__(self, path: Path, settings: Row) -> None:
        self._settings = json.loads(json.dumps(settings))
        self.rows: list[Row] = []
        content = path.read_bytes() if path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if content and not whole:
            raise ResumeError(f"{path}: holds no whole line to resume from; remove it or choose another file")
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                self.rows.append(self._checked(line))
            except ResumeError as error:
                raise ResumeError(f"{path}, line {number}: {error}; remove it or choose another file") from None
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
        self._file.truncate(len(whole))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def append(self, rows: Sequence[Row]) -> None:
        """Write rows in one go; after that they survive the end of this process."""
        made = [{**row, MADE_WITH: self._settings} for row in rows]
        self._file.write(b"".join(json.dumps(row).encode() + b"\n" for row in made))
        self._file.flush()
        self.rows.extend(made)

    def _checked(self, line: bytes) -> Row:
        try:
            row: Any = json.loads(line)
        except ValueError as error:
            raise ResumeError(f"not JSON: {error}") from None
        if not isinstance(row, dict) or not isinstance(there := row.get(MADE_WITH), dict):
            raise ResumeError(f"field {MADE_WITH!r}: missing, so another program wrote this row")
        for name in {**there, **self._settings}:
            if there.get(name) != self._settings.get(name):
                raise ResumeError(f"made with {name} = {there.get(name)!r}, which is now {self._settings.get(name)!r}")
        return row
