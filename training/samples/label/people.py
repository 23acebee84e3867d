"""Labels by people: a sheet for a spreadsheet program with one row for each prompt, and the way back.

The responses of a row stand in random order, so that a liking for the first place is spread over all of them; the
column `id`, which people leave as it is, names the record and that order. Only `id` and the answer are read back, so a
program that reformats the texts does no harm.
"""

import csv
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from training.data.formats.checks import DataError
from training.data.records import Comparison, dense_ranks
from training.samples.label.labels import ALL_TIED, NOTHING_TO_COMPARE, Labelled, record_key, unlabelled
from training.samples.label.transcript import transcript

Question = Literal["best", "ranking"]

BLANK = "not filled in"
_QUESTIONS: tuple[Question, ...] = ("best", "ranking")
_CELL_CHARACTERS = 32_000  # a spreadsheet holds 32,767 in a cell and cuts the rest without a word
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_ID = re.compile(r"r([0-9a-f]{16}):(\d+(?:-\d+)*)")


def export_sheet(drawn: Sequence[Comparison], path: Path, *, question: Question, seed: int) -> Labelled:
    """Write a sheet with an empty column `best` or `ranking`; what has fewer than two responses is left out.

    Raises DataError where the file exists: somebody may have filled it in.
    """
    samples = {record_key(sample): unlabelled(sample) for sample in drawn}
    asked = {key: sample for key, sample in samples.items() if len(sample.responses) > 1}
    columns = max((len(sample.responses) for sample in asked.values()), default=0)
    try:
        # The byte-order mark lets Excel see that the file is UTF-8.
        file = path.open("x", encoding="utf-8-sig", newline="")
    except FileExistsError:
        raise DataError(f"{path}: already exists") from None
    with file:
        sheet = csv.writer(file)
        sheet.writerow(["prompt", *(f"response_{place}" for place in range(1, columns + 1)), question, "id"])
        for key, sample in asked.items():
            order = random.Random(f"sheet-{seed}-{key}").sample(range(len(sample.responses)), len(sample.responses))
            shown = [sample.responses[index] for index in order] + [""] * (columns - len(order))
            name = f"r{key}:{'-'.join(map(str, order))}"
            sheet.writerow([*map(_cell, [transcript(sample.messages), *shown]), "", name])
    return Labelled(list(asked.values()), {NOTHING_TO_COMPARE: len(samples) - len(asked)})


def import_sheet(drawn: Sequence[Comparison], path: Path) -> Labelled:
    """Labels of a filled sheet that was exported from these records; rows without an answer are left out.

    `best` holds the number of a response; `ranking` holds all of them, best first, such as `2>1=3`. Raises DataError
    naming the row, as the spreadsheet counts it, and the column.
    """
    samples = {record_key(sample): unlabelled(sample) for sample in drawn}
    comparisons: list[Comparison] = []
    left_out: Counter[str] = Counter()
    seen: set[str] = set()
    for row, question, answer, name in _rows(path):
        try:
            key, order = _identify(name, samples, seen)
            seen.add(key)
            places = _places(answer, question, len(order)) if answer else ()
        except DataError as error:
            raise DataError(f"{path}, row {row}: {error}") from None
        if len(set(places)) < 2:
            left_out[ALL_TIED if places else BLANK] += 1
            continue
        ranks = dict(zip(order, places, strict=True))
        comparisons.append(replace(samples[key], ranks=tuple(ranks[index] for index in range(len(order)))))
    return Labelled(comparisons, left_out)


def _cell(text: str) -> str:
    """Text that a spreadsheet neither takes for a formula nor cuts."""
    if len(text) > _CELL_CHARACTERS:
        text = f"{text[:_CELL_CHARACTERS]} [{len(text) - _CELL_CHARACTERS} more characters]"
    return f"'{text}" if text.startswith(_FORMULA) else text


def _rows(path: Path) -> Iterator[tuple[int, Question, str, str]]:
    """(row, question, answer, id) of each filled row; a program may have saved with `;` or tabs between the cells."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            delimiter = next((mark for mark in ",;\t" if mark in header), ",")
            file.seek(0)
            sheet = csv.DictReader(file, delimiter=delimiter)
            question = _question(path, sheet.fieldnames or ())
            for row, cells in enumerate(sheet, start=2):
                if any(cells.values()):
                    yield row, question, (cells[question] or "").strip(), (cells["id"] or "").strip()
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8; save it as CSV in UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{path}: not CSV: {error}") from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None


def _question(path: Path, columns: Sequence[str]) -> Question:
    question = next((name for name in _QUESTIONS if name in columns), None)
    if question is None or "id" not in columns:
        raise DataError(f"{path}: expected the columns 'id' and 'best' or 'ranking', found {', '.join(columns)}")
    return question


def _identify(name: str, samples: dict[str, Comparison], seen: set[str]) -> tuple[str, list[int]]:
    """(key of the record, index of the response in each place)."""
    match = _ID.fullmatch(name)
    if match is None:
        raise DataError(f"id: expected the id as it was exported, got {name!r}")
    key, order = match[1], [int(index) for index in match[2].split("-")]
    if key not in samples or sorted(order) != list(range(len(samples[key].responses))):
        raise DataError(f"id: {name!r} is not of these records")
    if key in seen:
        raise DataError(f"id: {name!r} comes twice")
    return key, order


def _places(answer: str, question: Question, count: int) -> tuple[int, ...]:
    """The rank of the response in each place."""
    if question == "best":
        if not answer.isdecimal() or not 1 <= int(answer) <= count:
            raise DataError(f"best: expected 1..{count}, got {answer!r}")
        return tuple(int(place != int(answer)) for place in range(1, count + 1))
    levels = [[part.strip() for part in level.split("=")] for level in answer.split(">")]
    rank = {part: index for index, level in enumerate(levels) for part in level}
    named = sorted(part for level in levels for part in level)
    if named != sorted(map(str, range(1, count + 1))):
        raise DataError(f"ranking: expected each of 1..{count} once, such as 2>1=3, got {answer!r}")
    return dense_ranks([rank[str(place)] for place in range(1, count + 1)])
