"""The study of K-wise labels."""

import json
from pathlib import Path

from tests.training.experiments.studies.small import LAB, REWARD
from training.experiments.studies import k_wise
from training.run import run_folder


def test_k_wise_gives_both_ways_the_same_labels_and_pairs(tmp_path: Path) -> None:
    config = k_wise.KWiseConfig.of({**LAB, "reward": {**REWARD, "batch_size": 4}, "seeds": 2})
    found = k_wise.run(config, tmp_path)
    assert len(found.whole) == len(found.pairs) == 2
    assert found.difference.low <= found.difference.value <= found.difference.high
    ways = [
        json.loads((tmp_path / "seed-0" / way / run_folder.CONFIG_FILE).read_text(encoding="utf-8"))
        for way in ("k-wise", "pairs")
    ]
    assert [way["batch_size"] for way in ways] == [4, 24]  # six pairs stand in a comparison of four
    assert "| 1 |" in (tmp_path / "README.md").read_text(encoding="utf-8")
