"""A loop of updates: logged, kept on the way, resumed with what belongs to its state."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState

from training.run import run_folder, snapshots
from training.run.checks import TrainingDiverged
from training.run.config import ConfigError, TrainingConfig
from training.run.metrics import METRICS_FILE
from training.run.updates import UpdateLoop

CONFIG = TrainingConfig(lab="arithmetic", max_steps=4, save_steps=2, log_steps=1)


@pytest.fixture(autouse=True)
def _fresh_accelerator() -> Iterator[None]:
    yield
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()


class Counter:
    """Adds up the numbers of its updates."""

    def __init__(self, stop_before: int = -1) -> None:
        self.total, self._stop_before = 0, stop_before
        self.saved: list[tuple[Path, int]] = []

    def step(self, update: int) -> dict[str, float]:
        if update == self._stop_before:
            raise KeyboardInterrupt
        self.total += update
        return {"total": float(self.total)}

    def save(self, folder: Path) -> None:
        self.saved.append((folder, self.total))

    def state_dict(self) -> dict[str, Any]:
        return {"total": self.total}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.total = state["total"]


def loop(counter: Counter, output: Path, policy_checkpoints: int = 0) -> UpdateLoop:
    made = UpdateLoop("counter", CONFIG, output, policy_checkpoints=policy_checkpoints)
    made.keep_with_state(counter)
    return made


def totals(output: Path) -> list[tuple[int, float]]:
    lines = map(json.loads, (output / METRICS_FILE).read_text(encoding="utf-8").splitlines())
    return [(row["step"], row["total"]) for row in lines]


def test_every_update_is_logged_and_policies_are_kept(tmp_path: Path) -> None:
    counter = Counter()
    loop(counter, tmp_path, policy_checkpoints=1).run(counter.step, counter.save)
    assert totals(tmp_path) == [(1, 0), (2, 1), (3, 3), (4, 6)]
    assert counter.saved == [(snapshots.folder(tmp_path, 2), 1), (tmp_path, 6)]


def test_an_interrupted_loop_goes_on_from_its_last_state(tmp_path: Path) -> None:
    first, second = Counter(stop_before=3), Counter()
    with pytest.raises(KeyboardInterrupt):
        loop(first, tmp_path).run(first.step, first.save)
    assert (tmp_path / run_folder.STATE_FOLDER / "counter").is_dir()
    again = loop(second, tmp_path)
    again.run(second.step, second.save)
    assert totals(tmp_path) == [(1, 0), (2, 1), (3, 3), (4, 6)]
    again.finish("command", title="Title", source="numbers", measured=lambda: "Measured.")
    assert not (tmp_path / run_folder.STATE_FOLDER).exists()
    assert "Measured." in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_a_loss_that_is_not_finite_names_the_update(tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged, match="the loss is nan at update 1"):
        loop(Counter(), tmp_path).check_finite(torch.tensor(float("nan")))


def test_more_policies_than_updates_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="policy_checkpoints: 4 do not fit"):
        loop(Counter(), tmp_path, policy_checkpoints=4)
