"""`bestofn train sft|reward|dpo|ppo`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from typer.core import TyperCommand

from bestofn_server.commands.choices import RECIPES
from bestofn_server.commands.errors import stopping
from training.run.config import Config, ConfigError, TrainingConfig, describe

app = typer.Typer(help="Train a policy or a reward model from a recipe.", no_args_is_help=True)

Settings = TypeVar("Settings", bound=TrainingConfig)
Loaded = TypeVar("Loaded", bound=Config)
Recipe = Annotated[str, typer.Option(help=f"A YAML file, or one of {RECIPES}.")]
Output = Annotated[
    Path | None,
    typer.Option(help="Folder of the checkpoint; an interrupted run there is resumed.", show_default="runs/RECIPE"),
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting; may be repeated.")
]


class TrainerCommand(TyperCommand):
    """Its help ends with the trainer's settings. They stand in the trainer's module, which is slow to import."""

    @property
    def epilog(self) -> str | None:
        """One line for each setting."""
        return describe(_config(str(self.name)))

    @epilog.setter
    def epilog(self, text: str | None) -> None:
        """Typer sets what the command was declared with, which is nothing."""


@app.command(cls=TrainerCommand)
def sft(recipe: Recipe = "arithmetic_sft", output: Output = None, overrides: Overrides = None) -> None:
    """Fine-tune a policy on demonstrations."""
    from training.sft.trainer import SFTConfig, train

    _train("sft", SFTConfig, train, recipe, output, overrides)


@app.command(cls=TrainerCommand)
def reward(recipe: Recipe = "arithmetic_reward", output: Output = None, overrides: Overrides = None) -> None:
    """Train a reward model on compared or rated answers: from a file, or of the policy's own samples in a lab."""
    from training.reward.trainer import RewardModelConfig, train

    _train("reward", RewardModelConfig, train, recipe, output, overrides)


@app.command(cls=TrainerCommand)
def dpo(recipe: Recipe = "arithmetic_dpo", output: Output = None, overrides: Overrides = None) -> None:
    """Train a policy on compared answers directly (DPO): from a file, or of its own samples in a lab."""
    from training.dpo.trainer import DPOConfig, train

    _train("dpo", DPOConfig, train, recipe, output, overrides)


@app.command(cls=TrainerCommand)
def ppo(recipe: Recipe = "arithmetic_ppo", output: Output = None, overrides: Overrides = None) -> None:
    """Train a policy against a reward model (PPO)."""
    from training.ppo.trainer import PPOConfig, train

    _train("ppo", PPOConfig, train, recipe, output, overrides)


def default_output(recipe: str) -> Path:
    """runs/RECIPE."""
    return Path("runs") / Path(recipe).stem.replace("_", "-")


def load(command: str, kind: type[Loaded], recipe: str, overrides: Sequence[str] | None) -> Loaded:
    """The settings of a command. Raises ConfigError that names the command and the recipe, which may be another's."""
    try:
        return kind.load(recipe, overrides or ())
    except ConfigError as error:
        raise ConfigError(f"`bestofn {command}` with the recipe {recipe!r}: {error}") from error


def _config(trainer: str) -> type[TrainingConfig]:
    """Each trainer imports much that the others do not need."""
    match trainer:
        case "sft":
            from training.sft.trainer import SFTConfig

            return SFTConfig
        case "reward":
            from training.reward.trainer import RewardModelConfig

            return RewardModelConfig
        case "dpo":
            from training.dpo.trainer import DPOConfig

            return DPOConfig
    from training.ppo.trainer import PPOConfig

    return PPOConfig


def _train(
    trainer: str,
    kind: type[Settings],
    train: Callable[[Settings, Path, str], Path],
    recipe: str,
    output: Path | None,
    overrides: Sequence[str] | None,
) -> None:
    settings = "".join(f" --set {text}" for text in overrides or ())
    with stopping():
        config = load(f"train {trainer}", kind, recipe, overrides)
        saved = train(config, output or default_output(recipe), f"bestofn train {trainer} --recipe {recipe}{settings}")
    typer.echo(f"saved to {saved}")
