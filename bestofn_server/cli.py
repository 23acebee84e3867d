"""The command line: bestofn serve | train | evaluate | collect | label | study | sweep | compare | replay.

Each command imports what it needs when it is run.
"""

import typer

from bestofn_server.commands import study, train
from bestofn_server.commands.collect import collect
from bestofn_server.commands.compare import compare
from bestofn_server.commands.evaluate import evaluate
from bestofn_server.commands.label import label
from bestofn_server.commands.replay import replay
from bestofn_server.commands.sweep import sweep
from training.experiments.compare.config import CompareConfig
from training.run.config import describe

app = typer.Typer(name="bestofn", no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
_FORWARD = {
    "allow_extra_args": True,
    "allow_interspersed_args": False,
    "ignore_unknown_options": True,
    "help_option_names": [],
}


@app.callback()
def bestofn() -> None:
    """Best-of-N reranking over vLLM, and the training of policies and reward models."""


@app.command(context_settings=_FORWARD)
def serve(context: typer.Context) -> None:
    """Serve a model with best-of-N: every option of `vllm serve`, and ours (see `bestofn serve --help`)."""
    from service.vllm import coupling

    coupling.require()
    from service.vllm.server import main as serve_main

    serve_main(context.args)


app.add_typer(train.app, name="train")
app.command()(evaluate)
app.command()(collect)
app.command()(label)
app.command(epilog=describe(CompareConfig))(compare)
app.command()(sweep)
app.command()(replay)
app.add_typer(study.app, name="study")


def main() -> None:
    """Entry of the `bestofn` command."""
    app()
