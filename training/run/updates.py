"""The loop of a trainer whose loop is not transformers': it resumes, logs, and keeps states and policies on the way.

`supervised` is the same for the others.
"""

import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedType
from accelerate.utils import InitProcessGroupKwargs, tqdm

from training.run import cards, run_folder, snapshots
from training.run.checks import TrainingDiverged
from training.run.config import ConfigError, TrainingConfig
from training.run.metrics import MetricsWriter

_DATA_PARALLEL = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)


@dataclass
class Completed:
    """How far a run is; saved with its state."""

    updates: int = 0
    seconds: float = 0.0

    def state_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)


class UpdateLoop:
    """`max_steps` updates in the folder of a run, by as many processes as there are.

    name: of the trainer, and of the folder of its state. policy_checkpoints: as many are kept from along the way.
    Raises ConfigError where they do not fit, and for a way of running in which each process has not the whole model.
    """

    def __init__(self, name: str, config: TrainingConfig, output: Path, *, policy_checkpoints: int) -> None:
        self._name, self._config, self._output = name, config, output
        self._kept = snapshots.steps(config.max_steps, policy_checkpoints)
        self._completed = Completed()
        self.accelerator = Accelerator(
            mixed_precision="bf16" if config.bf16 else "no",
            kwargs_handlers=[InitProcessGroupKwargs(timeout=run_folder.PATIENCE)],
        )
        if (kind := self.accelerator.distributed_type) not in _DATA_PARALLEL:
            raise ConfigError(f"{name.upper()} trains data-parallel, not with {kind.value}: use multi_gpu.yaml")

    def keep_with_state(self, *parts: Any) -> None:
        """Beside models and optimizers, which accelerate knows: what has `state_dict` and `load_state_dict`."""
        self.accelerator.register_for_checkpointing(*parts, self._completed)

    def run(self, step: Callable[[int], Mapping[str, float]], save: Callable[[Path], None]) -> None:
        """All updates that are left; then the policy is saved.

        step: takes the number of the update, returns its metrics. save: writes the policy into a folder.
        """
        config, done, accelerator = self._config, self._completed, self.accelerator
        run_folder.begin(config, self._output)
        state = _State(self._output / run_folder.STATE_FOLDER, self._name, accelerator)
        state.load()
        metrics = MetricsWriter(self._output, after_step=done.updates) if accelerator.is_main_process else None
        if metrics and not done.updates:
            snapshots.clear(self._output)
        started = time.monotonic() - done.seconds
        for update in tqdm(range(done.updates, config.max_steps), desc=self._name.upper()):
            numbers = step(update)
            done.updates, done.seconds = update + 1, time.monotonic() - started
            if metrics and done.updates % config.log_steps == 0:
                metrics.write(done.updates, numbers)
            if done.updates in self._kept:
                save(snapshots.folder(self._output, done.updates))
            if done.updates % config.save_steps == 0:
                state.save()
        save(self._output)

    def check_finite(self, loss: torch.Tensor) -> None:
        """Raises TrainingDiverged, which names the update. Waits for the device that computes the loss."""
        if not math.isfinite(value := loss.item()):
            raise TrainingDiverged(
                f"the loss is {value} at update {self._completed.updates + 1}: lower the learning rate or look at the "
                "data"
            )

    def finish(self, command: str, *, title: str, source: str, measured: Callable[[], str]) -> Path:
        """Write the model card, remove the state to resume from, and return the folder; every process calls it.

        measured: measures the saved policy, in the main process only.
        """
        if self.accelerator.is_main_process:
            cards.write(
                self._output,
                title=title,
                usage=cards.POLICY_USAGE,
                command=command,
                data=source,
                measured=measured(),
                minutes=self._completed.seconds / 60,
                settings=self._config.as_dict(),
            )
        run_folder.finish(self._output)
        return self._output


class _State:
    """What to resume from, as accelerate keeps it: whole or not at all, whenever the run is killed."""

    def __init__(self, folder: Path, name: str, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._last, self._new, self._old = (folder / f"{name}{suffix}" for suffix in ("", "-new", "-old"))

    def save(self) -> None:
        """Every process calls it."""
        self._accelerator.save_state(str(self._new))
        self._accelerator.wait_for_everyone()
        if self._accelerator.is_main_process:
            shutil.rmtree(self._old, ignore_errors=True)
            if self._last.is_dir():
                self._last.replace(self._old)
            self._new.replace(self._last)
            shutil.rmtree(self._old, ignore_errors=True)

    def load(self) -> None:
        """The last whole one, if there is one."""
        found = next((folder for folder in (self._last, self._old) if folder.is_dir()), None)
        self._accelerator.wait_for_everyone()
        if found:
            self._accelerator.load_state(str(found))
