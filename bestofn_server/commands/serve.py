"""`bestofn serve`: hands the rest of the command line to the server, with the models to serve where it names none."""

import os
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from service.vllm.bundled import Bundled

# vLLM's own parser reads everything behind `serve`, --help included.
FORWARD: dict[str, Any] = {
    "allow_extra_args": True,
    "allow_interspersed_args": False,
    "ignore_unknown_options": True,
    "help_option_names": [],
}


def serve(context: typer.Context) -> None:
    """Serve a model with best-of-N: every option of `vllm serve`, and ours (see `bestofn serve --help`)."""
    # vLLM reads it when it is imported; `--log-level INFO` brings its own reports back.
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    from service.vllm import coupling

    coupling.require()
    from service.vllm.server import main

    main(context.args, bundled())


def bundled() -> "Bundled":
    """The policy and the reward model of the lab `arithmetic`."""
    from service.vllm.bundled import Bundled
    from training.labs import checkpoint

    reward_model = checkpoint("arithmetic-reward")
    return Bundled(
        model=checkpoint("arithmetic-sft"),
        reward_model=reward_model,
        strategy_profile=reward_model / "strategy_profile.json",
        served_name="arithmetic",
    )
