"""Where training starts: comparisons, demonstrations and prompts, from files or the Hugging Face Hub.

A source is a file (`.jsonl`, `.ndjson`, `.json` or `.parquet`), a folder of such files, which are read in the order of
their names and must all have one format, a folder in a layout of `datasets`, or the name of a dataset on the Hub, with
its configuration after a colon where it needs one. The first row decides the format (`training.data.formats`); a row
that cannot be read in it stops everything with its place. What holds nothing to learn is dropped and counted.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from training.data.formats import COMPARISONS, DEMONSTRATIONS, PROMPTS, AnyRecord, Format, recognise
from training.data.formats.checks import DataError, Dropped, Options, Row
from training.data.formats.native import to_row
from training.data.records import Comparison, Conversation, Demonstration

__all__ = ["DataError", "ReadReport", "hold_out", "read_comparisons", "read_demonstrations", "read_prompts", "to_row"]

Record = TypeVar("Record")

_LINES, _JSON, _PARQUET = {".jsonl", ".ndjson"}, {".json"}, {".parquet"}
_SUFFIXES = _LINES | _JSON | _PARQUET
_KINDS: Mapping[str, Sequence[Format[AnyRecord]]] = {"comparisons": COMPARISONS, "demonstrations": DEMONSTRATIONS}


@dataclass(frozen=True)
class ReadReport:
    """What was read: how many records of which kind were taken, and how many rows were dropped for each reason."""

    source: str
    format: str
    kind: str
    taken: int
    dropped: Mapping[str, int]

    def summary(self) -> str:
        """One line for people."""
        kind = self.kind.removesuffix("s") if self.taken == 1 else self.kind
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.dropped.items())
        dropped = f", {sum(self.dropped.values())} dropped ({reasons})" if self.dropped else ""
        return f"{self.source}: {self.format}, {self.taken} {kind} taken{dropped}"


def read_comparisons(
    source: str, *, split: str = "train", tokenizer_decode: Callable[[list[int]], str] | None = None
) -> tuple[list[Comparison], ReadReport]:
    """Every comparison of a source; `tokenizer_decode` turns token ids into text where a format holds those.

    Dropped are ranked responses that are all tied or all the same. Raises DataError with the place and the field.
    """
    return _read(source, Options(split, tokenizer_decode), "comparisons", COMPARISONS, _nothing_to_learn)


def read_demonstrations(source: str, *, split: str = "train") -> tuple[list[Demonstration], ReadReport]:
    """Every demonstration of a source; plain text is one without messages. Raises DataError as above."""
    return _read(source, Options(split), "demonstrations", DEMONSTRATIONS, lambda _: None)


def read_prompts(source: str, *, split: str = "train") -> tuple[list[Conversation], ReadReport]:
    """The different prompts of a source of any format, in order. Raises DataError as above."""
    known: list[Format[AnyRecord]] = [*COMPARISONS, *DEMONSTRATIONS, *PROMPTS]
    records, report = _read(source, Options(split), "prompts", known, _no_prompt)
    prompts = [record if isinstance(record, tuple) else record.messages for record in records]
    distinct = list({_key(prompt): prompt for prompt in prompts}.values())
    repeated = {"repeated": len(prompts) - len(distinct)} if len(distinct) < len(prompts) else {}
    return distinct, replace(report, taken=len(distinct), dropped={**report.dropped, **repeated})


def hold_out(
    comparisons: Sequence[Comparison], share: float, *, seed: int
) -> tuple[list[Comparison], list[Comparison]]:
    """(train, held out): about `share` of the prompts are held out, at least one, with all that is known about them.

    A prompt's side does not depend on the other prompts, so that none changes sides when data grows; only where all
    would be on one side, one is moved. Both are in an order that the seed decides. Raises DataError when there are
    fewer than two prompts.
    """
    if not 0 <= share < 1:
        raise ValueError(f"hold_out needs a share from 0 to below 1, not {share}")
    groups: dict[str, list[Comparison]] = {}
    for comparison in comparisons:
        groups.setdefault(_key(comparison.messages), []).append(comparison)
    if len(groups) < 2:
        raise DataError(f"holding out needs two prompts or more, and there is {len(groups)}")
    places = {key: _place(key, seed) for key in groups}
    ordered = [groups[key] for key in sorted(groups, key=places.__getitem__)]
    held = min(max(1, sum(place < share for place in places.values())), len(groups) - 1)
    return list(chain.from_iterable(ordered[held:])), list(chain.from_iterable(ordered[:held]))


def _read(
    source: str,
    options: Options,
    kind: str,
    formats: Sequence[Format[Record]],
    reason_to_drop: Callable[[Record], str | None],
) -> tuple[list[Record], ReadReport]:
    known: Format[Record] | None = None
    records: list[Record] = []
    dropped: Counter[str] = Counter()
    for place, row in _rows(source, options.split):
        if isinstance(row, Dropped):
            dropped[row.reason] += 1
            continue
        known = known or _format(place, row, kind, formats)
        try:
            found = known.parse(_object(row), options)
        except DataError as error:
            raise DataError(f"{place}: {error} (format: {known.name})") from None
        reason = found.reason if isinstance(found, Dropped) else reason_to_drop(found)
        if reason:
            dropped[reason] += 1
        elif not isinstance(found, Dropped):
            records.append(found)
    if known is None:
        raise DataError(f"{source}: holds no records")
    report = ReadReport(source, known.name, kind, len(records), dict(dropped.most_common()))
    if not records:
        raise DataError(f"no record is left of {report.summary()}")
    return records, report


def _format(place: str, row: Any, kind: str, formats: Sequence[Format[Record]]) -> Format[Record]:
    """The format of the first row. Raises DataError with the fields found and the formats known."""
    try:
        fields = _object(row)
    except DataError as error:
        raise DataError(f"{place}: {error}") from None
    if known := recognise(fields, formats):
        return known
    for other, others in _KINDS.items():
        if found := recognise(fields, others):
            raise DataError(f"{place}: the format is {found.name}, which holds {other}, not {kind}")
    names = ", ".join(known.name for known in formats)
    found_fields = ", ".join(repr(name) for name in fields) or "none"
    raise DataError(f"{place}: fits no format of {kind}: the fields are {found_fields}; the formats known are {names}")


def _object(row: Any) -> Row:
    if not isinstance(row, dict):
        raise DataError(f"expected a JSON object, got {type(row).__name__}")
    return row


def _nothing_to_learn(comparison: Comparison) -> str | None:
    if len(comparison.ranks) < 2:
        return None
    if len(set(comparison.responses)) == 1:
        return "identical responses"
    return "tied" if len(set(comparison.ranks)) == 1 else None


def _no_prompt(record: AnyRecord) -> str | None:
    return None if isinstance(record, tuple) or record.messages else "without a prompt"


def _key(messages: Conversation) -> str:
    return json.dumps(messages, sort_keys=True)


def _place(key: str, seed: int) -> float:
    """A number from 0 to below 1, all equally likely."""
    return int(sha256(f"{seed}:{key}".encode()).hexdigest()[:8], 16) / 2**32


def _rows(source: str, split: str) -> Iterator[tuple[str, Any]]:
    """(place, row) of everything in a source; a row that was never finished is `Dropped`."""
    path = Path(source)
    if path.is_file():
        return _file_rows(path)
    if source and path.is_dir():
        saved = any((path / name).exists() for name in ("state.json", "dataset_dict.json"))
        files = [] if saved else sorted(p for p in path.iterdir() if p.suffix in _SUFFIXES and p.name[0] != ".")
        return chain.from_iterable(map(_file_rows, files)) if files else _dataset_rows(source, split, saved=saved)
    if path.suffix in _SUFFIXES or source[:1] in {".", "/", "~", ""} or source.count("/") > 1:
        raise DataError(f"there is no file {source!r}")
    return _dataset_rows(source, split, saved=False)


def _file_rows(path: Path) -> Iterator[tuple[str, Any]]:
    if path.suffix in _LINES:
        return _line_rows(path)
    if path.suffix in _JSON:
        return _json_rows(path)
    if path.suffix in _PARQUET:
        return _parquet_rows(path)
    raise DataError(f"{path}: expected a file that ends in one of {', '.join(sorted(_SUFFIXES))}")


def _line_rows(path: Path) -> Iterator[tuple[str, Any]]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                place = f"{path}, line {number}"
                yield place, _line(place, line)


def _line(place: str, line: bytes) -> Any:
    """A writer that was killed leaves its last line without an end: that one is dropped, any other is an error."""
    try:
        return json.loads(line)
    except ValueError as error:
        if not line.endswith(b"\n"):
            return Dropped("cut off at the end of its file")
        raise DataError(f"{place}: not JSON: {error}") from None


def _json_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """The rows of a list, or of the only list in an object; an object that is a row itself is the only one."""
    try:
        whole = json.loads(path.read_bytes())
    except ValueError as error:
        if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data":
            yield from _line_rows(path)  # JSON Lines under another name, as summarize-from-feedback has them
            return
        raise DataError(f"{path}: not JSON: {error}") from None
    if isinstance(whole, dict):
        lists = [value for value in whole.values() if isinstance(value, list)]
        is_row = recognise(whole, (*COMPARISONS, *DEMONSTRATIONS)) is not None
        if not is_row and len(lists) != 1:
            raise DataError(f"{path}: expected a list of rows, or an object with one list, got {len(lists)} lists")
        whole = [whole] if is_row else lists[0]
    if not isinstance(whole, list):
        raise DataError(f"{path}: expected a list of rows, got {type(whole).__name__}")
    yield from ((f"{path}, row {number}", row) for number, row in enumerate(whole, start=1))


def _parquet_rows(path: Path) -> Iterator[tuple[str, Any]]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            rows = chain.from_iterable(batch.to_pylist() for batch in file.iter_batches())
            yield from ((f"{path}, row {number}", row) for number, row in enumerate(rows, start=1))
    except pyarrow.ArrowException as error:
        raise DataError(f"{path}: not Parquet: {error}") from None


def _dataset_rows(source: str, split: str, *, saved: bool) -> Iterator[tuple[str, Any]]:
    """The rows of a split that `datasets` reads: from the Hub, from a folder in its layout, or saved to disk by it."""
    import datasets
    from datasets.exceptions import DatasetsError

    name, _, configuration = (source, "", "") if Path(source).is_dir() else source.partition(":")
    try:
        if saved:
            found = datasets.load_from_disk(name)
            rows = found[split] if isinstance(found, datasets.DatasetDict) else found
        else:
            rows = datasets.load_dataset(name, configuration or None, split=split)
    except (OSError, ValueError, KeyError, RuntimeError, DatasetsError) as error:
        raise DataError(f"{source}: datasets cannot load the split {split!r}: {error}") from error
    yield from ((f"{source}, {split}, row {number}", row) for number, row in enumerate(rows, start=1))
