"""Every recipe in short, and what every bundled checkpoint says of itself."""

import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import training
from bestofn_server.cli import app
from training.evaluation.measure import gold, held_out_samples
from training.labs import checkpoint, lab

FOLDER = Path(str(training.__file__)).parent
CHECKPOINTS = sorted(path.name for path in (FOLDER / "checkpoints").iterdir())
SHORT: dict[str, Any] = {"max_steps": 2, "batch_size": 4, "evaluation_prompts": 4, "evaluation_samples": 2}
OF_TRAINER: dict[str, dict[str, Any]] = {
    "sft": {"demonstrations": 40},
    "reward": {"prompts": 12, "held_out_share": 0.3, "sampler": "transformers"},
    "dpo": {"prompts": 12, "held_out_share": 0.3, "sampler": "transformers"},
    "ppo": {"prompts": 12, "rollouts": 8, "ppo_epochs": 1, "sampler": "transformers"},
}
RECIPES = sorted(path.stem for path in (FOLDER / "recipes").glob("*.yaml"))


def command_of(recipe: str) -> list[str]:
    """As the recipe's own first lines give it, without `bestofn`."""
    text = (FOLDER / "recipes" / f"{recipe}.yaml").read_text(encoding="utf-8")
    found = re.search(r"^#     bestofn (.+)$", text, re.MULTILINE)
    assert found, f"{recipe} does not say which command runs it"
    return found[1].split()


@pytest.mark.parametrize("recipe", [name for name in RECIPES if command_of(name)[0] == "train"])
def test_every_training_recipe_runs_in_short(recipe: str, tmp_path: Path) -> None:
    command = command_of(recipe)
    assert command[3] == recipe
    settings = {**SHORT, **OF_TRAINER[command[1]]}
    sets = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    done = CliRunner().invoke(app, [*command, "--output", str(tmp_path), *sets])
    assert done.exit_code == 0, done.output[-2000:]
    assert (tmp_path / "model.safetensors").is_file()
    _, _, measured = (tmp_path / "README.md").read_text(encoding="utf-8").partition("## Measured")
    assert re.search(r"gold.*\d\.\d{3} \[", measured, re.IGNORECASE | re.DOTALL)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_says_what_to_expect(recipe: str) -> None:
    text = (FOLDER / "recipes" / f"{recipe}.yaml").read_text(encoding="utf-8")
    assert "# Expected: " in text
    assert re.search(r"minutes", text)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_every_checkpoint_has_a_card_with_the_recipe_that_makes_it_again(name: str) -> None:
    card = (checkpoint(name) / "README.md").read_text(encoding="utf-8")
    assert f"--recipe {name.replace('-', '_')}" in card
    assert name.replace("-", "_") in RECIPES
    assert "## Measured" in card


def test_all_checkpoints_are_small() -> None:
    assert sum(path.stat().st_size for path in (FOLDER / "checkpoints").rglob("*")) < 20e6


@pytest.mark.parametrize("name", [name for name in CHECKPOINTS if name.endswith(("-dpo", "-ppo"))])
def test_trained_policies_are_better_than_the_one_they_came_from(name: str) -> None:
    world = lab(name.split("-", maxsplit=1)[0])
    before, after = (
        gold(world, held_out_samples(world, path, kind="transformers", prompts=40, count=2)).mean()
        for path in (f"{world.name}-sft", name)
    )
    assert after > before + 0.1
