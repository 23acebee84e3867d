from pathlib import Path

import pytest

from training.config import ConfigError, RewardModelConfig, SFTConfig, describe


def test_the_bundled_recipes_are_valid() -> None:
    assert SFTConfig.load("arithmetic_sft").lab == "arithmetic"
    assert RewardModelConfig.load("arithmetic_reward").model == "arithmetic-sft"


def test_overrides_win_and_take_the_settings_type() -> None:
    config = SFTConfig.load("arithmetic_sft", ["max_steps=7", "learning_rate=1e-4", "save_dtype=float32"])
    assert (config.max_steps, config.learning_rate, config.save_dtype) == (7, 1e-4, "float32")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("learning_rat=1", "unknown setting 'learning_rat'"),
        ("max_steps=many", "max_steps: expected int, got 'many'"),
        ("max_steps=0", "max_steps: must be at least 1"),
        ("carelessness=1.5", "carelessness: must be at most 1"),
        ("learning_rate=nan", "learning_rate: must be at least 0"),
        ("max_steps", "expected key=value"),
        ("save_dtype=int8", "save_dtype: must be"),
        ("lab=", "either lab or data"),
        ("data=nowhere.jsonl", "either lab or data"),
    ],
)
def test_a_bad_setting_is_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SFTConfig.load("arithmetic_sft", [override])


def test_a_missing_data_file_and_model_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data: there is no file 'nowhere\.jsonl'"):
        SFTConfig(data="nowhere.jsonl", model="m")
    (tmp_path / "data.jsonl").touch()
    with pytest.raises(ConfigError, match="model: needed"):
        RewardModelConfig(data=str(tmp_path / "data.jsonl"))


@pytest.mark.parametrize(("text", "message"), [("- a", "lines of"), ("a: [", "not YAML"), ("steps: 3", "'steps'")])
def test_a_bad_recipe_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        SFTConfig.load(str(path))


def test_an_unknown_recipe_lists_the_bundled_ones() -> None:
    with pytest.raises(ConfigError, match="arithmetic_reward, arithmetic_sft"):
        SFTConfig.load("nothing")


def test_every_setting_has_help() -> None:
    assert "carelessness = 0.0  share of demonstrations" in describe(SFTConfig)
