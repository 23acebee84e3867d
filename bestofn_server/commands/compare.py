"""`bestofn compare`: best-of-N beside trained policies, measured on a real server, as a report."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from bestofn_server.commands.errors import stopping
from bestofn_server.commands.train import Overrides, Recipe, default_output, load


def compare(
    recipe: Recipe = "compare_arithmetic",
    output: Annotated[
        Path | None,
        typer.Option(help="Folder of the report; an interrupted run there is resumed.", show_default="runs/RECIPE"),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Serve policies in turn, measure quality, latency and cost at every N, and write one page about it."""
    from training.experiments.compare.config import CompareConfig
    from training.experiments.compare.run import run

    with stopping(), _leaving_on_sigterm():
        page = run(load("compare", CompareConfig, recipe, overrides), output or default_output(recipe))
    typer.echo(f"wrote {page}")


@contextmanager
def _leaving_on_sigterm() -> Iterator[None]:
    """So that the server which was started ends too."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
