"""Metrics on disk: JSON lines and TensorBoard, from the step that a run goes on from."""

import json
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

from training.run.metrics import METRICS_FILE, MetricsWriter


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / METRICS_FILE).read_text(encoding="utf-8").splitlines()]


def test_metrics_go_on_from_the_step_of_the_state(tmp_path: Path) -> None:
    first = MetricsWriter(tmp_path)
    for step in (1, 2, 3):
        first.write(step, {"loss": float(step), "eval_accuracy": 0.5, "note": "text"})
    first.close()
    second = MetricsWriter(tmp_path, after_step=2)
    second.write(3, {"loss": 30.0})
    second.close()
    assert [(row["step"], row["loss"]) for row in rows(tmp_path)] == [(1, 1.0), (2, 2.0), (3, 30.0)]
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(1, 1.0), (2, 2.0), (3, 30.0)]
    assert "eval/accuracy" in events.Tags()["scalars"]


def test_a_fresh_run_drops_an_older_ones_metrics(tmp_path: Path) -> None:
    for _ in range(2):
        metrics = MetricsWriter(tmp_path)
        metrics.write(1, {"loss": 1.0})
        metrics.close()
    assert len(rows(tmp_path)) == 1
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1
