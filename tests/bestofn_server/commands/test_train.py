"""`bestofn train`: what its help lists, and what stops it before anything is trained."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bestofn_server.cli import app
from bestofn_server.commands.train import default_output, load
from training.run.config import ConfigError
from training.sft.trainer import SFTConfig


def train(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["train", *arguments], env={"COLUMNS": "200"})


def test_help_lists_the_settings_of_a_recipe() -> None:
    result = train("reward", "--help")
    assert "every_position_weight" in result.output
    assert "label_noise" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sft", "--set", "step=3"], "unknown setting 'step'"),
        (["reward", "--recipe", "none"], "no recipe 'none'"),
    ],
)
def test_bad_arguments_are_named(arguments: list[str], message: str) -> None:
    result = train(*arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_bad_data_stops_training_with_one_line(tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text('{"prompt": "q", "chosen": "a", "rejected": 3}\n', encoding="utf-8")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"model: arithmetic-sft\ndata: {data}\n", encoding="utf-8")
    result = train("reward", "--recipe", str(recipe), "--output", str(tmp_path / "run"))
    assert result.exit_code == 2
    assert "line 1: field 'rejected': expected text" in result.output


def test_a_recipe_of_another_command_names_both() -> None:
    with pytest.raises(ConfigError, match="`bestofn train sft` with the recipe 'k_wise': unknown setting"):
        load("train sft", SFTConfig, "k_wise", None)


def test_a_run_has_its_recipes_name() -> None:
    assert default_output("folder/my_recipe.yaml") == Path("runs/my-recipe")
