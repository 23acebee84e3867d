"""Work in stages that are done once."""

from pathlib import Path

import pytest

from training.experiments.stages import Stages
from training.run.config import ConfigError
from training.sft.trainer import SFTConfig

SETTINGS = SFTConfig(lab="arithmetic")


def test_a_stage_that_was_finished_is_not_done_again(tmp_path: Path) -> None:
    done: list[Path] = []
    for _ in range(2):
        folder = Stages(SETTINGS, tmp_path).stage("first", done.append)
    assert done == [folder] == [tmp_path / "first"]


def test_a_stage_that_was_interrupted_is_done_again(tmp_path: Path) -> None:
    stages = Stages(SETTINGS, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        stages.stage("first", _interrupted)
    done: list[Path] = []
    stages.stage("first", done.append)
    assert len(done) == 1


def _interrupted(_: Path) -> None:
    raise KeyboardInterrupt


def test_numbers_are_computed_once_and_come_back_as_json_holds_them(tmp_path: Path) -> None:
    stages = Stages(SETTINGS, tmp_path)
    assert not stages.has("deep/figure")
    computed = [stages.result("deep/figure", lambda: {"value": (1, 2)}) for _ in range(2)]
    assert computed == [{"value": [1, 2]}] * 2
    assert Stages(SETTINGS, tmp_path).read("deep/figure") == {"value": [1, 2]}


def test_a_folder_with_other_settings_is_refused(tmp_path: Path) -> None:
    Stages(SETTINGS, tmp_path)
    with pytest.raises(ConfigError, match="other settings"):
        Stages(SFTConfig(lab="reviews"), tmp_path)
