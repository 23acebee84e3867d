"""Demonstrations, read from a file or written in a lab."""

import json
from pathlib import Path

from training.labs import lab
from training.samples.demonstrations import lab_demonstrations, load_demonstrations


def test_a_lab_writes_as_many_as_are_asked_for_and_they_repeat() -> None:
    world = lab("arithmetic")
    made, source = lab_demonstrations(world, 5, seed=3)
    assert source == "5 demonstrations of the lab `arithmetic`"
    assert made == lab_demonstrations(world, 5, seed=3)[0] != lab_demonstrations(world, 5, seed=4)[0]


def test_a_file_is_read_and_summed_up(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps({"text": "Once upon a time"}), encoding="utf-8")
    (record,), source = load_demonstrations(str(path), "train")
    assert record.completion == "Once upon a time"
    assert "1 demonstration taken" in source
