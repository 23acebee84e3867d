"""The command line of load tests. Heavy imports wait until a command is run."""

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.commands.errors import stop, stopping

if TYPE_CHECKING:
    from loadtests.sweep_record import Record

_RECORD = "sweep.json"


def sweep(
    url: Annotated[str, typer.Option(help="The server's address.")] = "http://127.0.0.1:8000",
    best_of: Annotated[str, typer.Option(help="Values of N, separated by commas.")] = "1,2,4,8,16",
    clients: Annotated[str, typer.Option(help="Numbers of clients, separated by commas.")] = "1,4,16",
    requests: Annotated[int, typer.Option(min=1, help="Requests of a cell in each repeat, that are counted.")] = 40,
    repeats: Annotated[int, typer.Option(min=1, help="How often the whole grid is measured.")] = 3,
    warm_up: Annotated[int, typer.Option(min=0, help="Requests of each client before a cell; not counted.")] = 1,
    workload: Annotated[
        Path | None, typer.Option(help="Prompts, lengths and streaming; its best_of is not used. Default: sums.")
    ] = None,
    model: Annotated[str, typer.Option(help="Model to name in requests; empty: none.")] = "",
    best_of_field: Annotated[str, typer.Option(help="Field for N; `n` for plain vLLM.")] = "best_of",
    api_key: Annotated[str, typer.Option(envvar="OPENAI_API_KEY", help="Key, where the server asks for one.")] = "",
    seed: Annotated[int, typer.Option(help="Seed of the order and of what is asked.")] = 0,
    output: Annotated[Path, typer.Option(help="Folder of sweep.json, sweep.csv and sweep.html.")] = Path("runs/sweep"),
    from_record: Annotated[
        Path | None, typer.Option("--from", help="Measure nothing; make CSV and HTML of this sweep.json again.")
    ] = None,
) -> None:
    """Measure a running server over a grid of N by clients, with warm-up, repeats and intervals.

    sweep.json holds every request; sweep.csv and sweep.html follow from it. An interrupted sweep goes on where it
    stopped when it is started again in the same way.
    """
    from loadtests.sweep import measure
    from loadtests.sweep_record import Record, Settings
    from loadtests.workload import WORKLOADS, Mix

    with stopping():
        if from_record:
            _report(Record.read(from_record), from_record.parent)
            return
        mix = Mix.load(workload or WORKLOADS / "sums.yaml")
        settings = Settings(
            best_of=_numbers("--best-of", best_of),
            clients=_numbers("--clients", clients),
            requests=requests,
            repeats=repeats,
            warm_up=warm_up,
            seed=seed,
            model=model,
            best_of_field=best_of_field,
            workload=asdict(mix.workload),
        )
        _report(asyncio.run(measure(settings, mix, url, api_key, output / _RECORD)), output)


def _report(record: "Record", folder: Path) -> None:
    from rich.console import Console

    from loadtests.sweep_report import table, write

    Console().print(table(record))
    for path in write(record, folder):
        typer.echo(f"wrote {path}", err=True)


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        numbers = ()
    if not numbers or numbers[0] < 1:
        stop(ValueError(f"{option}: expected positive numbers separated by commas, got {text!r}"))
    return numbers
