"""What every labeller is given and hands back."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from measuring.whole_file import write_rows
from training.data.formats.checks import DataError
from training.data.formats.native import to_row
from training.data.records import Comparison

ALL_TIED = "all tied"
NOTHING_TO_COMPARE = "fewer than two different responses"


@dataclass(frozen=True)
class Labelled:
    """Labelled comparisons, and how many records were left out for which reason."""

    comparisons: list[Comparison]
    left_out: Mapping[str, int]

    def summary(self, done: str = "labelled") -> str:
        """One line for people; `done`: what became of the comparisons."""
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items() if count)
        left_out = sum(self.left_out.values())
        return f"{len(self.comparisons)} {done}, {left_out} left out" + (f" ({reasons})" if reasons else "")


def unlabelled(sample: Comparison) -> Comparison:
    """The different responses to a prompt, without what was known of them: a labeller's word replaces it."""
    return replace(sample.distinct(), ranks=(), scores={}, margin=0.0)


def record_key(sample: Comparison) -> str:
    """The same for the same prompt and responses: by it a label finds its record again."""
    return hashlib.sha256(json.dumps(to_row(unlabelled(sample))).encode()).hexdigest()[:16]


def refuse_to_overwrite(path: Path) -> None:
    """Raises DataError where the file exists: labels are dear."""
    if path.exists():
        raise DataError(f"{path}: already exists; remove it or choose another --output")


def write(path: Path, labelled: Labelled, by: Mapping[str, Any]) -> None:
    """One row for each labelled record, and who labelled it; the whole file or nothing. Raises DataError for no row."""
    if not labelled.comparisons:
        raise DataError(f"{path}: nothing to write, {labelled.summary()}")
    rows = [to_row(comparison) | {"labelled_by": dict(by)} for comparison in labelled.comparisons]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_rows(path, rows)
