"""`bestofn evaluate server|reward|policy`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from bestofn_server.commands.choices import LABS, SAMPLERS
from bestofn_server.commands.errors import refuse, stop, stopping
from training.run.config import positive_numbers, read_options

if TYPE_CHECKING:
    from training.evaluation.policy import PolicyReport
    from training.evaluation.reward_model import RewardReport

Lab = Annotated[str, typer.Option(metavar=LABS, help="The lab whose held-out prompts are asked.")]
LabOptions = Annotated[
    list[str] | None,
    typer.Option("--lab-option", metavar="KEY=VALUE", help="Option of the lab; can be given several times."),
]
Prompts = Annotated[int, typer.Option(min=1, help="Held-out prompts.")]
Samples = Annotated[int, typer.Option(min=0, help="Answers to each prompt; 0: 16 with a reward model, else 4.")]
Sampler = Annotated[str, typer.Option(metavar=SAMPLERS, help="What samples; auto: vllm where installed.")]
Seed = Annotated[int, typer.Option(help="Seed of the sampling.")]
Folder = Annotated[Path | None, typer.Option(help="Folder to write the numbers to, with pictures.")]


class _Modes(TyperGroup):
    """Also takes the options without a sub-command, as it did when `evaluate` was one command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # typer's base class names a private class
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            mode = _mode(args)
            typer.echo(f"`bestofn evaluate` is now `bestofn evaluate {mode}`, with the same options", err=True)
            args = [mode, *args]
        return super().parse_args(ctx, args)


def _mode(args: Sequence[str]) -> str:
    """What those options are about."""
    given = {argument.partition("=")[0] for argument in args}
    if "--data" in given or ("--reward-model" in given and "--policy" not in given):
        return "reward"
    return "policy" if "--policy" in given else "server"


app = typer.Typer(
    cls=_Modes,
    help="Measure a running server, a reward model, or a policy. Options without a sub-command choose it: --policy, "
    "else --reward-model, else a server.",
    short_help="Measure a running server, a reward model, or a policy.",
)


@app.command()
def server(
    lab: Lab = "arithmetic",
    lab_option: LabOptions = None,
    best_of: Annotated[str, typer.Option(help="Values of best_of, separated by commas.")] = "1,2,4,8,16",
    prompts: Annotated[int, typer.Option(min=1, help="Held-out prompts of each best_of.")] = 500,
    base_url: Annotated[str, typer.Option(help="The server's OpenAI address.")] = "http://127.0.0.1:8000/v1",
    model: Annotated[str, typer.Option(help="Model name; empty: the first of /v1/models.")] = "",
    api_key: Annotated[str, typer.Option(envvar="OPENAI_API_KEY", help="Key, where the server asks for one.")] = "",
    concurrency: Annotated[int, typer.Option(min=1, help="Requests in flight.")] = 8,
    seed: Annotated[int, typer.Option(help="Seed of the prompts and of the sampling.")] = 0,
    output: Annotated[Path | None, typer.Option(help="JSON file to write the numbers to.")] = None,
) -> None:
    """Measure a running server in a lab: gold, reward, tokens and latency for each best_of."""
    import asyncio

    from training.evaluation.server import Evaluation, run

    with stopping():
        evaluation = Evaluation(
            lab=lab,
            lab_options=read_options(lab_option or ()),
            best_of=positive_numbers("--best-of", best_of.split(",")),
            prompts=prompts,
            base_url=base_url,
            model=model,
            api_key=api_key,
            seed=seed,
            concurrency=concurrency,
        )
        report = asyncio.run(run(evaluation))
    report.show()
    if output:
        output.write_text(report.to_json(), encoding="utf-8")
    if report.failed:
        raise typer.Exit(1)


@app.command()
def reward(
    context: typer.Context,
    reward_model: Annotated[str, typer.Option(help="The checkpoint: a folder, or a bundled or Hugging Face name.")],
    data: Annotated[
        str, typer.Option(help="Comparisons or a benchmark: a file, folder or dataset; empty: a lab.")
    ] = "",
    split: Annotated[str, typer.Option(help="With --data: split of a dataset.")] = "train",
    lab: Lab = "arithmetic",
    lab_option: LabOptions = None,
    policy: Annotated[str, typer.Option(help="Rank this policy's answers in the lab; empty: those of LAB-sft.")] = "",
    prompts: Prompts = 500,
    samples: Samples = 0,
    sampler: Sampler = "auto",
    seed: Seed = 0,
    output: Folder = None,
) -> None:
    """Measure a reward model: accuracy on pairs, calibration, the part that length plays, and best-of-n in a lab.

    RewardBench, RewardBench 2 and RM-Bench are scored by their own rules.
    """
    if data and policy:
        stop(ValueError("--data: a policy answers a lab's prompts, not those of a file; give --data or --policy"))
    if data:
        refuse(context, ["lab_option"], "has no meaning with --data, it describes a lab")
    from training.evaluation.offline import Answers, reward_in_lab, reward_on_data

    with stopping():
        if data:
            report = reward_on_data(reward_model, data, split)
        else:
            options = read_options(lab_option or ())
            report = reward_in_lab(reward_model, Answers(lab, options, policy, prompts, samples, sampler, seed))
    _show(output, reward=report)


@app.command()
def policy(
    policy: Annotated[str, typer.Option(help="The checkpoint: a folder, or a bundled or Hugging Face name.")],
    lab: Lab = "arithmetic",
    lab_option: LabOptions = None,
    reward_model: Annotated[
        str, typer.Option(help="Also measure its reward by this reward model, and that model by its answers.")
    ] = "",
    reference: Annotated[str, typer.Option(help="Measure the KL to this policy.")] = "",
    against: Annotated[str, typer.Option(help="Measure the win rate by gold against this policy.")] = "",
    prompts: Prompts = 500,
    samples: Samples = 0,
    sampler: Sampler = "auto",
    seed: Seed = 0,
    output: Folder = None,
) -> None:
    """Measure a policy in a lab: gold, reward, KL, length, diversity and win rate."""
    from training.evaluation.offline import Answers, policy_in_lab

    with stopping():
        options = read_options(lab_option or ())
        ranked, measured = policy_in_lab(
            Answers(lab, options, policy, prompts, samples, sampler, seed),
            reward_name=reward_model,
            reference=reference,
            against=against,
        )
    _show(output, reward=ranked, policy=measured)


def _show(output: Path | None, *, reward: "RewardReport | None" = None, policy: "PolicyReport | None" = None) -> None:
    from training.evaluation.report import markdown, write

    typer.echo(markdown(reward=reward, policy=policy))
    if output:
        for path in write(output, reward=reward, policy=policy):
            typer.echo(f"wrote {path}", err=True)
