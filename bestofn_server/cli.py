"""The command line: bestofn serve | train | evaluate | collect | label | study | sweep | compare | replay.

Each command imports what it needs when it is run.
"""

from typing import Annotated

import typer

from bestofn_server.commands import evaluate, study, train
from bestofn_server.commands.collect import collect
from bestofn_server.commands.compare import compare
from bestofn_server.commands.label import label
from bestofn_server.commands.replay import replay
from bestofn_server.commands.serve import FORWARD, serve
from bestofn_server.commands.sweep import sweep
from training.experiments.compare.config import CompareConfig
from training.run.config import describe

app = typer.Typer(
    name="bestofn",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        from bestofn_server import __version__

        typer.echo(f"bestofn {__version__}")
        raise typer.Exit


@app.callback()
def bestofn(
    _: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Best-of-N reranking over vLLM, and the training of policies and reward models."""


app.command(context_settings=FORWARD)(serve)
app.add_typer(train.app, name="train")
app.add_typer(evaluate.app, name="evaluate")
app.command()(collect)
app.command()(label)
app.command(epilog=describe(CompareConfig))(compare)
app.command()(sweep)
app.command()(replay)
app.add_typer(study.app, name="study")


def main() -> None:
    """Entry of the `bestofn` command."""
    app(prog_name="bestofn")
