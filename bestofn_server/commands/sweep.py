"""The command line of load tests. Heavy imports wait until a command is run."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bestofn_server.commands.choices import WORKLOADS
from bestofn_server.commands.errors import refuse, stopping
from training.run.config import positive_numbers

if TYPE_CHECKING:
    from loadtests.sweep.record import SweepRecord

_RECORD = "sweep.json"


def sweep(
    context: typer.Context,
    base_url: Annotated[str, typer.Option(help="The server's OpenAI address.")] = "http://127.0.0.1:8000/v1",
    best_of: Annotated[str, typer.Option(help="Values of N, separated by commas.")] = "1,2,4,8,16",
    clients: Annotated[str, typer.Option(help="Numbers of clients, separated by commas.")] = "1,4,16",
    requests: Annotated[
        int, typer.Option(min=1, help="Counted requests of a cell; all clients send equally many.")
    ] = 48,
    repeats: Annotated[int, typer.Option(min=1, help="How often the whole grid is measured.")] = 3,
    warm_up: Annotated[int, typer.Option(min=0, help="Requests of each client before a cell; not counted.")] = 1,
    workload: Annotated[
        str,
        typer.Option(help=f"Prompts, lengths and streaming: a file, or one of {WORKLOADS}; its best_of is not used."),
    ] = "sums",
    model: Annotated[str, typer.Option(help="Model to name in requests; empty: none.")] = "",
    best_of_field: Annotated[
        Literal["best_of", "n"], typer.Option(help="Field for N; `n` for plain vLLM.")
    ] = "best_of",
    api_key: Annotated[str, typer.Option(envvar="OPENAI_API_KEY", help="Key, where the server asks for one.")] = "",
    seed: Annotated[int, typer.Option(help="Seed of the order and of what is asked.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder of sweep.json, sweep.csv and sweep.html. Default: runs/sweep, or that of --from."),
    ] = None,
    from_record: Annotated[
        Path | None,
        typer.Option("--from", help="Measure nothing; make CSV and HTML of this sweep.json again."),
    ] = None,
) -> None:
    """Measure a running server over a grid of N by clients, with warm-up, repeats and intervals.

    The loop is closed: a client asks again when it is answered, so that a server that stalls is asked less, and fewer
    of its slow answers are counted (coordinated omission). sweep.json holds every request; sweep.csv and sweep.html
    follow from it. An interrupted sweep goes on where it stopped when it is started again in the same way.
    """
    import asyncio

    from loadtests.sweep.measure import measure
    from loadtests.sweep.record import SweepRecord, SweepSettings
    from loadtests.workload import Mix, workload_path

    with stopping():
        if from_record:
            refuse(context, set(context.params) - {"from_record", "output"}, "has no meaning with --from")
            _report(SweepRecord.read(from_record), output or from_record.parent)
            return
        loads = positive_numbers("--clients", clients.split(","))
        if uneven := [load for load in loads if requests % load]:
            raise ValueError(
                f"--requests: must be a multiple of every value of --clients, {requests} is not of {uneven}"
            )
        mix = Mix.load(workload_path(workload))
        folder = output or Path("runs/sweep")
        settings = SweepSettings(
            best_of=positive_numbers("--best-of", best_of.split(",")),
            clients=loads,
            requests=requests,
            repeats=repeats,
            warm_up=warm_up,
            seed=seed,
            model=model,
            best_of_field=best_of_field,
            workload=asdict(mix.workload),
            prompts_sha256=mix.prompts_sha256,
        )
        _report(asyncio.run(measure(settings, mix, base_url, api_key, folder / _RECORD)), folder)


def _report(record: "SweepRecord", folder: Path) -> None:
    from rich.console import Console

    from loadtests.sweep.report import table, write

    Console().print(table(record))
    for path in write(record, folder):
        typer.echo(f"wrote {path}", err=True)
