"""`bestofn sweep`: latency, throughput and tokens over a grid of N by clients.

Each cell is a closed loop: C clients that each send their next request when the last one is answered, so that a server
that stalls is asked less, and fewer of its slow answers are counted (coordinated omission). All cells are
measured once in each repeat, in an order shuffled anew, so that what changes with time does not look like an effect of
N. The record is written after every cell, and a sweep that was stopped goes on from there.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from loadtests.sweep.record import Cell, Place, SweepRecord, SweepSettings, ask_server, this_machine
from loadtests.workload import Mix
from measuring.client import connect, root
from measuring.loops import drive
from measuring.machine import this_command


async def measure(settings: SweepSettings, mix: Mix, url: str, api_key: str, path: Path) -> SweepRecord:
    """Measure the cells that the record at `path` lacks, and write it after each.

    Raises SweepError when that record is of another sweep, ConnectionError when no server answers.
    """
    async with connect(url, api_key=api_key, clients=max(settings.clients)) as client:
        started = datetime.now(UTC).isoformat(timespec="seconds")
        record = SweepRecord(settings, await ask_server(client), this_machine(), this_command(), root(url), started)
        record = _resumed(record, path)
        known = {cell.place for cell in record.cells}
        missing = [place for place in order(settings) if (place.repeat, place.best_of, place.clients) not in known]
        with _progress() as progress:
            task = progress.add_task("sweep", total=len(missing) * settings.requests)
            for place in missing:
                progress.update(task, description=f"best_of={place.best_of}, {place.clients} clients")
                record = record.with_cell(await _cell(client, settings, mix, place, lambda: progress.advance(task)))
                record.write(path)
    return record


def _resumed(record: SweepRecord, path: Path) -> SweepRecord:
    """What is there already of this sweep, or this empty record."""
    if not path.exists():
        return record
    found = SweepRecord.read(path)
    found.check_resumable(record, path)
    return found


def order(settings: SweepSettings) -> Iterator[Place]:
    """All cells, the grid shuffled anew in each repeat; the same seed gives the same order."""
    turn = 0
    for repeat in range(settings.repeats):
        cells = settings.cells
        random.Random(f"{settings.seed}:{repeat}").shuffle(cells)
        for best_of, clients in cells:
            yield Place(repeat, best_of, clients, turn)
            turn += 1


async def _cell(
    client: httpx2.AsyncClient, settings: SweepSettings, mix: Mix, place: Place, answered: Callable[[], None]
) -> Cell:
    generator = random.Random(f"{settings.seed}:{place.repeat}:{place.best_of}:{place.clients}")

    def bodies(count: int) -> Iterator[dict[str, Any]]:
        for _ in range(count):
            query = replace(mix.draw(generator), best_of=place.best_of)
            yield query.body(best_of_field=settings.best_of_field, model=settings.model)

    await drive(client, bodies(settings.warm_up * place.clients), place.clients)
    load = await drive(client, bodies(settings.requests), place.clients, answered=lambda _: answered())
    return Cell.of(place, load)


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=Console(stderr=True))
