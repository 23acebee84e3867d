import json
from pathlib import Path
from typing import Any

import pytest

from training.dpo.trainer import DPOConfig
from training.labs import checkpoint, lab
from training.labs.arithmetic import Arithmetic
from training.labs.lab import LabOptionsError
from training.ppo.trainer import PPOConfig
from training.reward.trainer import RewardModelConfig
from training.run.config import ConfigError, TrainingConfig, describe, read_options
from training.sft.trainer import SFTConfig


def test_the_bundled_recipes_are_valid() -> None:
    assert SFTConfig.load("arithmetic_sft").lab_options == {"carelessness": 0.4, "json_share": 0.05}
    assert RewardModelConfig.load("arithmetic_reward").model == "arithmetic-sft"


@pytest.mark.parametrize(
    ("config", "name"), [(SFTConfig, "arithmetic-sft"), (RewardModelConfig, "arithmetic-reward")], ids=str
)
def test_a_bundled_checkpoint_was_made_by_todays_recipe(config: type[TrainingConfig], name: str) -> None:
    settings = json.loads((checkpoint(name) / "training_config.json").read_text(encoding="utf-8"))
    assert config(**settings) == config.load(name.replace("-", "_"))


def test_overrides_win_and_take_the_settings_type() -> None:
    config = SFTConfig.load("arithmetic_sft", ["max_steps=7", "learning_rate=1e-4", "save_dtype=float32"])
    assert (config.max_steps, config.learning_rate, config.save_dtype) == (7, 1e-4, "float32")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("learning_rat=1", "unknown setting 'learning_rat', did you mean 'learning_rate'. there are: adam_beta2"),
        ("max_steps=many", "max_steps: expected int, got 'many'"),
        ("max_steps=0", "max_steps: must be at least 1"),
        ("carelessness=0.5", "unknown setting 'carelessness'; there are: adam_beta2"),
        ("lab_options=7", "lab_options: expected dict, got '7'"),
        ("learning_rate=nan", "learning_rate: must be at least 0"),
        ("max_steps", "expected key=value"),
        ("save_dtype=int8", "save_dtype: must be"),
        ("lab=", "either lab or data"),
        ("lab.x=1", "lab: holds no options, so lab.x cannot be set"),
        ("model.x=1", "model: expected str, got {'x': 1}"),
        ("lab_options.carelessness=[", r"lab_options.carelessness=\[: not YAML"),
        ("data=nowhere.jsonl", "either lab or data"),
    ],
)
def test_a_bad_setting_is_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SFTConfig.load("arithmetic_sft", [override])


def test_an_option_of_the_lab_is_set_by_itself() -> None:
    config = SFTConfig.load("arithmetic_sft", ["lab_options.carelessness=0.1", "lab_options.wild=true"])
    assert config.lab_options == {"carelessness": 0.1, "json_share": 0.05, "wild": True}


@pytest.mark.parametrize(
    ("config", "settings", "message"),
    [
        (RewardModelConfig, {"data": "pairs.jsonl"}, "model: required"),
        (SFTConfig, {"data": "demonstrations.jsonl"}, "model: required when the data is not made in a lab"),
        (SFTConfig, {"data": "x.jsonl", "model": "m", "demonstrations": 3}, "demonstrations: has no meaning"),
        (SFTConfig, {"data": "x.jsonl", "model": "m", "lab_options": {"a": 1}}, "lab_options: has no meaning"),
        (RewardModelConfig, {"data": "x.jsonl", "model": "m", "label_noise": 0.1}, "label_noise: has no meaning"),
        (DPOConfig, {"data": "x.jsonl", "model": "m", "sampler": "vllm"}, "sampler: has no meaning"),
        (SFTConfig, {"data": "x.jsonl", "model": "m", "evaluation_prompts": 9}, "evaluation_prompts: has no meaning"),
        (DPOConfig, {"lab": "arithmetic", "model": "m", "loss": "ipo", "label_smoothing": 0.1}, "label_smoothing"),
        (PPOConfig, {"lab": "arithmetic", "model": "m"}, "reward_model: required"),
    ],
)
def test_settings_that_do_not_go_together_are_named(
    config: type[TrainingConfig], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**settings)


@pytest.mark.parametrize(("text", "message"), [("- a", "lines of"), ("a: [", "not YAML"), ("steps: 3", "'steps'")])
def test_a_bad_recipe_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        SFTConfig.load(str(path))


def test_an_unknown_recipe_lists_the_bundled_ones() -> None:
    with pytest.raises(ConfigError, match="arithmetic_reward, arithmetic_sft"):
        SFTConfig.load("nothing")


@pytest.mark.parametrize("config", [SFTConfig, RewardModelConfig, DPOConfig, PPOConfig])
def test_every_setting_has_help(config: type[TrainingConfig]) -> None:
    text = describe(config)
    assert "lab_options = {}  in a lab: its options" in text
    assert "(cosine, linear, constant_with_warmup)" in text
    assert text.count("\n\n") == len(config.__dataclass_fields__) - 1


def test_help_says_what_is_required_and_what_is_read_in_a_lab_only() -> None:
    assert "model = ''  model to start from" in describe(SFTConfig)
    assert "reward_model (required)  scores the rollouts" in describe(PPOConfig)
    assert "sampler = 'auto'  in a lab: engine that samples" in describe(DPOConfig)


def test_ppo_samples_the_prompts_of_a_file_too() -> None:
    settings: dict[str, Any] = {"data": "prompts.jsonl", "model": "m", "reward_model": "r", "sampler": "vllm"}
    assert PPOConfig(**settings).sampler == "vllm"
    with pytest.raises(ConfigError, match="unknown setting 'gradient_accumulation_steps'"):
        PPOConfig.of({**settings, "gradient_accumulation_steps": 2})


def test_options_are_read_as_yaml() -> None:
    assert read_options(["a=1", "b = 0.5", "c=yes"]) == {"a": 1, "b": 0.5, "c": True}
    with pytest.raises(ConfigError, match="expected key=value, got 'a'"):
        read_options(["a"])


@pytest.mark.parametrize(("value", "shown"), [("high", "'high'"), ([1], r"\[1\]"), (True, "True"), (None, "None")])
def test_an_option_of_a_lab_that_is_no_number_is_named(value: Any, shown: str) -> None:
    with pytest.raises(LabOptionsError, match=f"lab_options.carelessness: needs a number, not {shown}"):
        lab("arithmetic", {"carelessness": value})


def test_an_option_of_a_lab_may_be_a_number_that_yaml_reads_as_text() -> None:
    assert lab("arithmetic", {"carelessness": "1e-1"}) == Arithmetic(carelessness=0.1)
