"""Policies from along the way of a run, as checkpoints of their own: a curve of gold and proxy reward against KL."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from training.run.config import ConfigError

FOLDER = "checkpoints"


def steps(max_steps: int, count: int) -> list[int]:
    """`count` different steps, evenly spaced, that end before the last, whose policy is the run's own.

    Raises ConfigError where there are not that many.
    """
    if count >= max_steps:
        raise ConfigError(f"policy_checkpoints: {count} do not fit before the last of {max_steps} steps")
    return [round(number * max_steps / (count + 1)) for number in range(1, count + 1)]


def folder(output: Path, step: int) -> Path:
    """Where the policy after this step is kept."""
    return output / FOLDER / f"step-{step}"


def checkpoints(output: Path) -> dict[str, Path]:
    """The policies that a finished run kept, by name and in order; its own is the last, "end"."""
    kept = sorted((output / FOLDER).glob("step-*"), key=lambda path: int(path.name.removeprefix("step-")))
    return {path.name: path for path in kept} | {"end": output}


def clear(output: Path) -> None:
    """Remove what an older run kept there."""
    shutil.rmtree(output / FOLDER, ignore_errors=True)


class Snapshots(TrainerCallback):
    """Calls `save(folder)` after each of the steps, in every process; a run that begins anew first removes what an
    older one kept."""

    def __init__(self, output: Path, steps: Sequence[int], save: Callable[[Path], None]) -> None:
        self._output, self._steps, self._save = output, frozenset(steps), save

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.global_step == 0 and state.is_world_process_zero:
            clear(self._output)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.global_step in self._steps:
            self._save(folder(self._output, state.global_step))
