"""What `supervised_run` does around a trainer, in which order, and what it leaves."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from training.data.records import Demonstration, user
from training.run import checkpoints, run_folder, snapshots
from training.run.config import ConfigError
from training.run.pretrained import start_fresh
from training.run.supervised import Prepared, RecordTrainer, SupervisedConfig, supervised_run
from training.sft.data import SFTCollator, SFTDataset

CONFIG = SupervisedConfig(lab="arithmetic", max_steps=2, batch_size=2, save_steps=1, warmup_steps=0)


class Recipe:
    """Four demonstrations; writes down what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.metrics: dict[str, float] = {}

    def prepare(self, config: SupervisedConfig, output: Path) -> Prepared:
        self.asked.append("prepare")
        model, template = start_fresh("arithmetic", seed=0, max_tokens=64)
        records = [Demonstration(user(str(number)), "x" * number) for number in range(4)]
        dataset = SFTDataset(records, template, 64)
        return Prepared(
            model=model,
            tokenizer=template.tokenizer,
            trainer=partial(RecordTrainer, data_collator=SFTCollator(template.tokenizer.pad_token_id)),
            train_dataset=dataset,
            eval_dataset=dataset,
            at_start=lambda: self.asked.append("start"),
            at_end=lambda trainer: self.asked.append(f"end after {trainer.state.global_step}"),
            title="Title",
            source="four demonstrations",
            measured=self.measured,
        )

    def measured(self, metrics: Mapping[str, float]) -> str:
        self.asked.append("measured")
        self.metrics = dict(metrics)
        return "Measured."


def test_a_run_prepares_trains_saves_and_writes_its_card(tmp_path: Path) -> None:
    recipe = Recipe()
    assert supervised_run(CONFIG, tmp_path, "command", recipe.prepare) == tmp_path
    assert recipe.asked == ["prepare", "start", "end after 2", "measured"]
    assert "eval_runtime" in recipe.metrics
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    for text in ("# Title\n", "\ncommand\n", "four demonstrations", "Measured."):
        assert text in card
    assert (tmp_path / "model.safetensors").is_file()
    assert not (tmp_path / run_folder.STATE_FOLDER).exists()


def test_a_run_that_goes_on_does_not_start_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Recipe(), Recipe()

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            supervised_run(CONFIG, tmp_path, "", first.prepare)
    with pytest.raises(ConfigError, match="other settings"):
        supervised_run(replace(CONFIG, seed=1), tmp_path, "", second.prepare)
    supervised_run(CONFIG, tmp_path, "", second.prepare)
    assert second.asked == ["prepare", "end after 2", "measured"]


def test_only_a_trainer_that_keeps_policies_clears_those_of_an_older_run(tmp_path: Path) -> None:
    kept = snapshots.folder(tmp_path, 1)
    kept.mkdir(parents=True)
    supervised_run(CONFIG, tmp_path, "", Recipe().prepare)
    assert kept.exists()
    supervised_run(CONFIG, tmp_path, "", Recipe().prepare, policy_checkpoints=0)
    assert not kept.exists()
