"""`bestofn study over-optimisation|k-wise|online|selection`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Protocol, TypeVar

import typer

from bestofn_server.commands.errors import stopping
from bestofn_server.commands.train import Overrides, Recipe, default_output, load
from training.run.config import Config

app = typer.Typer(help="Run an experiment of several trainings and measurements.", no_args_is_help=True)

Settings = TypeVar("Settings", bound=Config)
Output = Annotated[
    Path | None,
    typer.Option(help="Folder of the study; an interrupted one there is resumed.", show_default="runs/RECIPE"),
]


@app.command(name="over-optimisation")
def over_optimisation(recipe: Recipe = "over_optimisation", output: Output = None, overrides: Overrides = None) -> None:
    """Gold and proxy reward against KL for best-of-n, PPO and DPO, with Gao et al.'s curves."""
    from training.experiments.studies import over_optimisation as study

    _run("over-optimisation", study.OverOptimisationConfig, study.run, recipe, output, overrides)


@app.command(name="k-wise")
def k_wise(recipe: Recipe = "k_wise", output: Output = None, overrides: Overrides = None) -> None:
    """Rewards learned from K ranked answers at once, against the same labels as shuffled pairs."""
    from training.experiments.studies import k_wise as study

    _run("k-wise", study.KWiseConfig, study.run, recipe, output, overrides)


@app.command(name="online")
def online(recipe: Recipe = "reviews_online", output: Output = None, overrides: Overrides = None) -> None:
    """Rounds of labels of the current policy, against one round with as many labels."""
    from training.experiments.studies import online as study

    _run("online", study.OnlineConfig, study.run, recipe, output, overrides)


@app.command(name="selection")
def selection(recipe: Recipe = "selection", output: Output = None, overrides: Overrides = None) -> None:
    """Gold against N for every way of selecting, with an ensemble that learned from noisy labels."""
    from training.experiments.studies import selection as study

    _run("selection", study.SelectionConfig, study.run, recipe, output, overrides)


class _Tabled(Protocol):
    def table(self) -> str: ...


def _run(
    name: str,
    kind: type[Settings],
    study: Callable[[Settings, Path], _Tabled],
    recipe: str,
    output: Path | None,
    overrides: Sequence[str] | None,
) -> None:
    with stopping():
        found = study(load(f"study {name}", kind, recipe, overrides), output or default_output(recipe))
    typer.echo(found.table())
