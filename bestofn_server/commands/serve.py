"""`bestofn serve`: hands the rest of the command line to the server, with the models to serve where it names none."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from service.vllm.bundled import Bundled

# vLLM's own parser reads everything behind `serve`, and most ways to ask for help.
FORWARD: dict[str, Any] = {
    "allow_extra_args": True,
    "allow_interspersed_args": False,
    "ignore_unknown_options": True,
    "help_option_names": [],
}

# The second is of what an engine that was ended has left to be cleaned up, and follows on the cleaning up.
_QUIET_WARNINGS = "ignore::FutureWarning,ignore::UserWarning:multiprocessing.resource_tracker"
_LABS = ("arithmetic", "reviews")


def serve(context: typer.Context) -> None:
    """Serve a model with best-of-N: every option of `vllm serve`, and ours (see `bestofn serve --help`)."""
    if context.args[-1:] in (["-h"], ["--help"], ["--help=bestofn"]):
        _help()
        return
    from service.vllm.life.engine_process import leave_on_signals

    leave_on_signals()  # importing vLLM takes long enough to be told to stop meanwhile
    _quieten(context.args)
    from service.vllm import coupling

    coupling.require()
    from service.vllm.server import main

    main(context.args, bundled())


def _help() -> None:
    """Our own options, without the import of vLLM, which takes seconds."""
    from argparse import ArgumentParser

    from service.settings import USAGE, add_arguments

    parser = ArgumentParser(
        "bestofn serve",
        usage=USAGE,
        description="Serve a model with best-of-N reranking, by every option of `vllm serve` and these. Without MODEL: "
        "the bundled models of the lab arithmetic.",
        epilog="All options, vLLM's too: bestofn serve --help=all; of one group: --help=ModelConfig; about one word: "
        "--help=max-num-seqs.",
        add_help=False,
    )
    add_arguments(parser)
    parser.print_help()


def _quieten(arguments: Sequence[str]) -> None:
    """Let vLLM and what it stands on report errors alone, unless somebody has asked for more.

    Read when they are imported, and by the engines' processes.
    """
    asked = any(word.split("=")[0].replace("_", "-") in ("--log-level", "--logging-config") for word in arguments)
    if not asked and "VLLM_LOGGING_LEVEL" not in os.environ:
        os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"
        os.environ.setdefault("PYTHONWARNINGS", _QUIET_WARNINGS)


def bundled() -> "dict[str, Bundled]":
    """By lab, its policy and the reward model that was trained for it; the first is served where nothing is named."""
    from service.vllm.bundled import Bundled
    from training.labs import checkpoint

    found = {}
    for lab in _LABS:
        reward_model = checkpoint(f"{lab}-reward")
        profile = reward_model / "strategy_profile.json"
        found[lab] = Bundled(
            model=checkpoint(f"{lab}-sft"),
            reward_model=reward_model,
            strategy_profile=profile if profile.is_file() else None,
            served_name=lab,
        )
    return found
