"""The study of over-optimisation."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.training.experiments.studies.small import LAB, PPO, REWARD, TRAINER
from training.experiments.studies import over_optimisation
from training.run import run_folder


def test_over_optimisation_follows_all_three_ways_from_one_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dpo = {**TRAINER, "max_steps": 3, "policy_checkpoints": 2}
    ppo = {**PPO, "max_steps": 3, "policy_checkpoints": 2, "learning_rate": 1e-3}
    settings = {**LAB, "label_noise": 0.25, "reward": REWARD, "dpo": dpo, "ppo": ppo, "best_of": 16, "fit_up_to": 8}
    config = over_optimisation.OverOptimisationConfig.of(settings)
    found = over_optimisation.run(config, tmp_path)
    assert set(found.curves) == {"best-of-n", "PPO", "DPO"}
    assert found.curves["best-of-n"].labels == ("1", "2", "4", "8", "16")
    assert found.curves["PPO"].labels == ("step-1", "step-2", "end")
    assert found.curves["best-of-n"].proxy.mean(axis=0)[-1] > 0  # the best by the proxy has more of the proxy
    assert found.extrapolation.label == "16"
    assert (tmp_path / "over_optimisation.png").stat().st_size > 10_000
    assert found.table() in (tmp_path / "README.md").read_text(encoding="utf-8")
    learned = [
        json.loads((tmp_path / name / run_folder.CONFIG_FILE).read_text(encoding="utf-8")) for name in ("proxy", "dpo")
    ]
    assert learned[0]["data"] == learned[1]["data"] == str(tmp_path / "labels" / "labels.jsonl")

    def again(*_: Any) -> None:
        raise AssertionError("done again")

    for trainer in ("reward", "ppo", "dpo"):
        monkeypatch.setattr(f"training.{trainer}.trainer.train", again)
    assert over_optimisation.run(config, tmp_path).table() == found.table()
