"""The folder of a run: whose state is in it, and what is resumed."""

import json
from pathlib import Path

import pytest

from training.run import run_folder
from training.run.config import ConfigError, TrainingConfig


def test_settings_change_freely_while_there_is_nothing_to_resume(tmp_path: Path) -> None:
    first, second = TrainingConfig(lab="arithmetic"), TrainingConfig(lab="reviews")
    assert run_folder.begin(first, tmp_path) is None
    assert run_folder.begin(second, tmp_path) is None
    assert json.loads((tmp_path / run_folder.CONFIG_FILE).read_text(encoding="utf-8")) == second.as_dict()
    (tmp_path / run_folder.STATE_FOLDER / "samples.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"interrupted run with other settings.*remove .*state"):
        run_folder.begin(first, tmp_path)


def test_a_state_that_was_never_finished_is_removed(tmp_path: Path) -> None:
    config = TrainingConfig(lab="arithmetic")
    run_folder.begin(config, tmp_path)
    whole, torn = (tmp_path / run_folder.STATE_FOLDER / f"checkpoint-{step}" for step in (5, 10))
    for state in (whole, torn):
        state.mkdir()
        (state / "model.safetensors").touch()
    (whole / "trainer_state.json").write_text("{}", encoding="utf-8")
    assert run_folder.begin(config, tmp_path) == str(whole)
    assert not torn.exists()
