"""The command line of training: `bestofn train sft|reward` and `bestofn evaluate`. Heavy imports wait until needed."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import typer

from training.config import ConfigError, RewardModelConfig, SFTConfig, TrainingConfig, describe

train_app = typer.Typer(help="Train a policy or a reward model from a recipe.", no_args_is_help=True)

Config = TypeVar("Config", bound=TrainingConfig)
Recipe = Annotated[str, typer.Option(help="A recipe of training/recipes, or a YAML file.")]
Output = Annotated[
    Path | None, typer.Option(help="Folder of the checkpoint; an interrupted run there goes on. [runs/RECIPE]")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting; may be repeated.")
]


@train_app.command(epilog=describe(SFTConfig))
def sft(recipe: Recipe = "arithmetic_sft", output: Output = None, overrides: Overrides = None) -> None:
    """Fine-tune a policy on demonstrations."""
    config = _load(SFTConfig, recipe, overrides)
    from training.runs import TrainingDiverged
    from training.sft import train

    try:
        saved = train(config, output or _default_output(recipe), _command("sft", recipe, overrides))
    except (ValueError, TrainingDiverged) as error:
        _stop(error)
    typer.echo(f"saved to {saved}")


@train_app.command(epilog=describe(RewardModelConfig))
def reward(recipe: Recipe = "arithmetic_reward", output: Output = None, overrides: Overrides = None) -> None:
    """Train a reward model on pairs: from a file, or of the policy's own samples in a lab."""
    config = _load(RewardModelConfig, recipe, overrides)
    from training.reward_model import train
    from training.runs import TrainingDiverged

    try:
        saved = train(config, output or _default_output(recipe), _command("reward", recipe, overrides))
    except (ValueError, TrainingDiverged) as error:
        _stop(error)
    typer.echo(f"saved to {saved}")


def evaluate(
    lab: Annotated[str, typer.Option(help="The lab whose held-out questions are asked.")] = "arithmetic",
    best_of: Annotated[str, typer.Option(help="Values of best_of, separated by commas.")] = "1,2,4,8,16",
    prompts: Annotated[int, typer.Option(min=1, help="Questions for each value.")] = 500,
    base_url: Annotated[str, typer.Option(help="The server's OpenAI address.")] = "http://127.0.0.1:8000/v1",
    model: Annotated[str, typer.Option(help="Model name. [the first of /v1/models]")] = "",
    api_key: Annotated[str, typer.Option(envvar="OPENAI_API_KEY", help="Key, where the server asks for one.")] = "",
    seed: Annotated[int, typer.Option(help="Seed of the questions and of the sampling.")] = 0,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests in flight.")] = 8,
    output: Annotated[Path | None, typer.Option(help="Also write the numbers to this JSON file.")] = None,
) -> None:
    """Measure a running server on a lab: accuracy, reward, tokens and latency for each best_of."""
    sizes = _sizes(best_of)
    from training.evaluate import Evaluation, run

    evaluation = Evaluation(
        lab=lab,
        best_of=sizes,
        prompts=prompts,
        base_url=base_url,
        model=model,
        api_key=api_key,
        seed=seed,
        concurrency=concurrency,
    )
    try:
        report = asyncio.run(run(evaluation))
    except (ValueError, ConnectionError) as error:
        _stop(error)
    report.show()
    if output:
        output.write_text(report.to_json(), encoding="utf-8")
    if report.failed:
        raise typer.Exit(1)


def _load(config: type[Config], recipe: str, overrides: Sequence[str] | None) -> Config:
    try:
        return config.load(recipe, overrides or ())
    except ConfigError as error:
        _stop(error)


def _command(trainer: str, recipe: str, overrides: Sequence[str] | None) -> str:
    settings = "".join(f" --set {text}" for text in overrides or ())
    return f"bestofn train {trainer} --recipe {recipe}{settings}"


def _default_output(recipe: str) -> Path:
    return Path("runs") / Path(recipe).stem.replace("_", "-")


def _sizes(text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        sizes = ()
    if not sizes or sizes[0] < 1:
        _stop(ValueError(f"--best-of: expected positive numbers separated by commas, got {text!r}"))
    return sizes


def _stop(error: Exception) -> NoReturn:
    typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
    raise typer.Exit(2)
