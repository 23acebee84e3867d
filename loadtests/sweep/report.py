"""A sweep for people: a table in the terminal, `sweep.csv`, and `sweep.html`, one page that needs no network."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from rich.table import Table

from loadtests.sweep import plots as sweep_plots
from loadtests.sweep.record import SweepRecord
from loadtests.sweep.summary import PlaceSummary, summarise
from measuring.estimators import Interval
from measuring.plots import svg
from measuring.whole_file import write_whole

_TEMPLATES = Path(__file__).parent
_INTERVALS = ("p50_s", "p95_s", "p99_s", "first_byte_p50_s", "requests_per_second", "generated_per_second", "reward")
_COUNTS = ("best_of", "clients", "repeats", "requests", "succeeded", "refused", "failed")
_FOR_THE_PAGE = {"p99 s", "returned", "reward"}
_MEANS = ("generated", "returned", "dollars")


def write(record: SweepRecord, folder: Path) -> list[Path]:
    """sweep.csv and sweep.html; gives their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {folder / "sweep.csv": to_csv(record), folder / "sweep.html": to_html(record)}
    for path, text in texts.items():
        write_whole(path, lambda partial, text=text: partial.write_text(text, encoding="utf-8"))  # type: ignore[misc]
    return list(texts)


def to_csv(record: SweepRecord) -> str:
    """A line for each N and number of clients; `_low` and `_high` are the ends of 95 % intervals; empty: no number."""
    names = [*_COUNTS, *_MEANS, *(name + end for name in _INTERVALS for end in ("", "_low", "_high"))]
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(names)
    for row in summarise(record):
        values = [getattr(row, name) for name in (*_COUNTS, *_MEANS)]
        for name in _INTERVALS:
            interval: Interval | None = getattr(row, name)
            values += [interval.value, interval.low, interval.high] if interval else [None] * 3
        lines.writerow([_cell(value) for value in values])
    return text.getvalue()


def to_html(record: SweepRecord) -> str:
    """The whole page: pictures, table, and what it was measured with."""
    rows = summarise(record)
    loader = FileSystemLoader(_TEMPLATES)
    page = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    answered = [row for row in rows if row.succeeded]
    pictures = [(title, Markup(svg(figure))) for title, figure in sweep_plots.all_of(answered)] if answered else []
    heads, *lines = _lines(rows)
    return page.get_template("report.html.jinja").render(
        record=record, pictures=pictures, heads=heads, lines=lines, notes=_notes(record, rows)
    )


def table(record: SweepRecord) -> Table:
    """For the terminal: as in the page, without intervals and what is read at leisure."""
    heads, *lines = [[value.partition(" [")[0] for value in line] for line in _lines(summarise(record))]
    kept = [index for index, head in enumerate(heads) if head not in _FOR_THE_PAGE]
    shown = Table(title=f"{record.url}, {record.settings.repeats} repeats of {record.settings.requests} requests")
    for index in kept:
        shown.add_column(heads[index], justify="right", no_wrap=True)
    for line in lines:
        shown.add_row(*(line[index] for index in kept))
    return shown


def _lines(rows: Sequence[PlaceSummary]) -> list[list[str]]:
    """The head and a line for each row; a column that would be empty is left out."""
    columns: list[tuple[str, list[str]]] = [
        ("N", [str(row.best_of) for row in rows]),
        ("clients", [str(row.clients) for row in rows]),
        ("p50 s", [_interval(row.p50_s, 3) for row in rows]),
        ("p95 s", [_interval(row.p95_s, 3) for row in rows]),
        ("p99 s", [_interval(row.p99_s, 3) for row in rows]),
        ("requests/s", [_interval(row.requests_per_second, 2) for row in rows]),
        ("tokens/s", [_interval(row.generated_per_second, 0) for row in rows]),
        ("tokens", [_number(row.generated, 1) for row in rows]),
        ("returned", [_number(row.returned, 1) for row in rows]),
    ]
    if any(row.reward for row in rows):
        columns.append(("reward", [_interval(row.reward, 3) if row.reward else "–" for row in rows]))
    if any(row.dollars is not None for row in rows):
        columns.append(("dollars per 1000", [_number((row.dollars or math.nan) * 1000, 4) for row in rows]))
    columns += [
        (name, [f"{getattr(row, name)}/{row.requests}" for row in rows])
        for name in ("refused", "failed")
        if any(getattr(row, name) for row in rows)
    ]
    heads = [head for head, _ in columns]
    return [heads, *(list(line) for line in zip(*(values for _, values in columns), strict=True))]


def _notes(record: SweepRecord, rows: Sequence[PlaceSummary]) -> list[str]:
    notes = []
    planned = record.settings.repeats * len(record.settings.cells)
    if len(record.cells) < planned:
        notes.append(f"Not finished: {len(record.cells)} of {planned} cells were measured.")
    errors = {
        request.error for cell in record.cells for request in cell.requests if not (request.ok or request.refused)
    }
    notes += [f"Requests failed with: {error}" for error in sorted(errors)[:5]]
    if refused := sum(row.refused for row in rows):
        notes.append(f"{refused} requests were refused (429) and are in no latency; their clients waited as asked.")
    return notes


def _interval(interval: Interval, digits: int) -> str:
    if not math.isfinite(interval.value):
        return "–"
    if not math.isfinite(interval.high - interval.low):
        return f"{interval.value:.{digits}f}"
    return interval.text(digits)


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.9g}" if math.isfinite(value) else ""
    return "" if value is None else value
