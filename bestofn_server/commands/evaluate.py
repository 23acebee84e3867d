"""`bestofn evaluate`: a running server, a reward model, or a policy."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bestofn_server.commands.errors import refuse, stop, stopping
from training.run.config import positive_numbers, read_options

if TYPE_CHECKING:
    from training.evaluation.offline import Offline

_SERVER, _REWARD, _POLICY = "A running server", "A reward model (--reward-model)", "A policy (--policy)"
_ONLY: Mapping[str, tuple[str, ...]] = {
    "a running server": ("best_of", "base_url", "model", "api_key", "concurrency"),
    "--reward-model or --policy": ("samples", "sampler"),
    "--reward-model": ("data", "split"),
    "--policy": ("reference", "against"),
}


def evaluate(
    context: typer.Context,
    lab: Annotated[str, typer.Option(help="The lab whose held-out prompts are asked.")] = "arithmetic",
    lab_option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Option of the lab; can be given several times.")
    ] = None,
    prompts: Annotated[int, typer.Option(min=1, help="Held-out prompts; for a server, of each best_of.")] = 500,
    seed: Annotated[int, typer.Option(help="Seed of the sampling; for a server, of the prompts too.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option(help="Write the numbers: a JSON file for a server, else a folder, with pictures."),
    ] = None,
    best_of: Annotated[
        str, typer.Option(help="Values of best_of, separated by commas.", rich_help_panel=_SERVER)
    ] = "1,2,4,8,16",
    base_url: Annotated[
        str, typer.Option(help="The server's OpenAI address.", rich_help_panel=_SERVER)
    ] = "http://127.0.0.1:8000/v1",
    model: Annotated[
        str, typer.Option(help="Model name; empty: the first of /v1/models.", rich_help_panel=_SERVER)
    ] = "",
    api_key: Annotated[
        str,
        typer.Option(envvar="OPENAI_API_KEY", help="Key, where the server asks for one.", rich_help_panel=_SERVER),
    ] = "",
    concurrency: Annotated[int, typer.Option(min=1, help="Requests in flight.", rich_help_panel=_SERVER)] = 8,
    reward_model: Annotated[
        str, typer.Option(help="Measure this checkpoint, folder or bundled name.", rich_help_panel=_REWARD)
    ] = "",
    data: Annotated[
        str,
        typer.Option(
            help="On these comparisons or this benchmark: file, folder or dataset; empty: a lab.",
            rich_help_panel=_REWARD,
        ),
    ] = "",
    split: Annotated[str, typer.Option(help="Split of a dataset.", rich_help_panel=_REWARD)] = "train",
    policy: Annotated[
        str,
        typer.Option(
            help="Measure this checkpoint; with --reward-model, both. A reward model alone ranks answers of LAB-sft.",
            rich_help_panel=_POLICY,
        ),
    ] = "",
    reference: Annotated[str, typer.Option(help="Measure the KL to this policy.", rich_help_panel=_POLICY)] = "",
    against: Annotated[
        str, typer.Option(help="Measure the win rate by gold against this policy.", rich_help_panel=_POLICY)
    ] = "",
    samples: Annotated[
        int,
        typer.Option(min=0, help="Answers to each prompt; 0: 16 with a reward model, else 4.", rich_help_panel=_POLICY),
    ] = 0,
    sampler: Annotated[
        str,
        typer.Option(
            help="What samples: vllm, transformers, or auto for vllm where installed.", rich_help_panel=_POLICY
        ),
    ] = "auto",
) -> None:
    """Measure a running server, or with --reward-model or --policy a checkpoint.

    A server: gold, reward, tokens and latency for each best_of, in a lab. A reward model: accuracy on pairs,
    calibration, the part that length plays, and best-of-n in a lab; RewardBench, RewardBench 2 and RM-Bench are scored
    by their own rules. A policy: gold, reward, KL, length, diversity and win rate in a lab.
    """
    _check(context, bool(reward_model), bool(policy))
    if data and policy:
        stop(ValueError("--data: a policy answers a lab's prompts, not those of a file; give --data or --policy"))
    if data and lab_option:
        stop(ValueError("--lab-option: has no meaning with --data, it describes a lab"))
    with stopping():
        options = read_options(lab_option or ())
    if not (reward_model or policy):
        with stopping():
            sizes = positive_numbers("--best-of", best_of.split(","))
        _server(lab, options, sizes, prompts, base_url, model, api_key, seed, concurrency, output)
        return
    from training.evaluation.offline import Offline

    _offline(
        Offline(
            lab=lab,
            lab_options=options,
            reward_model=reward_model,
            data=data,
            split=split,
            policy=policy,
            reference=reference,
            against=against,
            prompts=prompts,
            samples=samples,
            sampler=sampler,
            seed=seed,
        ),
        output,
    )


def _check(context: typer.Context, reward_model: bool, policy: bool) -> None:
    read = {
        "a running server": not (reward_model or policy),
        "--reward-model or --policy": reward_model or policy,
        "--reward-model": reward_model,
        "--policy": policy,
    }
    for needed, names in _ONLY.items():
        if not read[needed]:
            refuse(context, names, f"only for {needed}")


def _server(
    lab: str,
    lab_options: Mapping[str, Any],
    sizes: tuple[int, ...],
    prompts: int,
    base_url: str,
    model: str,
    api_key: str,
    seed: int,
    concurrency: int,
    output: Path | None,
) -> None:
    from training.evaluation.server import Evaluation, run

    evaluation = Evaluation(
        lab=lab,
        lab_options=lab_options,
        best_of=sizes,
        prompts=prompts,
        base_url=base_url,
        model=model,
        api_key=api_key,
        seed=seed,
        concurrency=concurrency,
    )
    with stopping():
        report = asyncio.run(run(evaluation))
    report.show()
    if output:
        output.write_text(report.to_json(), encoding="utf-8")
    if report.failed:
        raise typer.Exit(1)


def _offline(asked: "Offline", output: Path | None) -> None:
    from training.evaluation.offline import run
    from training.evaluation.report import markdown, write

    with stopping():
        reward, policy = run(asked)
    typer.echo(markdown(reward=reward, policy=policy))
    if output:
        for path in write(output, reward=reward, policy=policy):
            typer.echo(f"wrote {path}", err=True)
