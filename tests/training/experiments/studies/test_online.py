"""The study of online collection."""

import json
from pathlib import Path

from tests.training.experiments.studies.small import LAB, PPO, TRAINER
from training.experiments.studies import online
from training.run import run_folder


def test_online_collection_asks_the_policy_of_each_round(tmp_path: Path) -> None:
    reward = {**TRAINER, "loss": "best_of_k", "held_out_share": 0.25}
    ppo = {**PPO, "learning_rate": 1e-3, "policy_checkpoints": 1}
    settings = {**LAB, "prompts": 2, "label": "best", "rounds": 2, "reward": reward, "ppo": ppo}
    found = online.run(online.OnlineConfig.of(settings), tmp_path)
    assert {name: len(way.kl) for name, way in found.ways.items()} == {"online": 5, "once": 3}
    known = {
        name: (tmp_path / name / "labels.jsonl").read_text(encoding="utf-8").splitlines()
        for name in ("online/labels-1", "online/labels-2", "once/labels-1")
    }
    assert {name: len(lines) for name, lines in known.items()} == {
        "online/labels-1": 8,
        "online/labels-2": 16,
        "once/labels-1": 16,
    }
    assert known["online/labels-2"][:8] == known["online/labels-1"]
    second = json.loads((tmp_path / "online" / "ppo-2" / run_folder.CONFIG_FILE).read_text(encoding="utf-8"))
    assert second["model"] == str(tmp_path / "online" / "ppo-1")
    assert second["reference"] == "reviews-sft"
    once = json.loads((tmp_path / "once" / "ppo-1" / run_folder.CONFIG_FILE).read_text(encoding="utf-8"))
    assert once["max_steps"] == 4
