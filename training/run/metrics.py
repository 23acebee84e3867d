"""A run's numbers on disk: `metrics.jsonl` for scripts, and the same for TensorBoard (`tensorboard --logdir runs`)."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

METRICS_FILE = "metrics.jsonl"
TENSORBOARD_FOLDER = "tensorboard"


class MetricsWriter:
    """Appends sets of metrics, each with its step, to both files in `folder`.

    after_step: the step that a run goes on from; what an interrupted run wrote of later steps is dropped.
    """

    def __init__(self, folder: Path, *, after_step: int = 0) -> None:
        self._lines, self._events = folder / METRICS_FILE, folder / TENSORBOARD_FOLDER
        self._after_step = after_step
        self._writer: Any = None
        if after_step:
            _keep(self._lines, after_step)
        else:
            self._lines.unlink(missing_ok=True)
            shutil.rmtree(self._events, ignore_errors=True)

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Numbers go to both files, anything else to the JSONL file only. `eval_x` is `eval/x` in TensorBoard."""
        with self._lines.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        writer = self._opened()
        for name, value in values.items():
            if isinstance(value, int | float):
                writer.add_scalar(_tag(name), value, step)
        writer.flush()

    def close(self) -> None:
        """Let go of the TensorBoard file; `write` opens another one."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _opened(self) -> Any:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._events), purge_step=self._after_step + 1)
        return self._writer


class MetricsFile(TrainerCallback):
    """What a transformers Trainer logs goes to both files in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._metrics: MetricsWriter | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.is_world_process_zero:
            self._metrics = MetricsWriter(self._folder, after_step=state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        if self._metrics is not None:
            self._metrics.write(state.global_step, logs or {})

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self._metrics is not None:
            self._metrics.close()


def _keep(lines: Path, last_step: int) -> None:
    """Leave out what was written after that step; a line that was cut off is left out too."""
    if lines.is_file():
        whole = [line for line in lines.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
        lines.write_text("".join(line for line in whole if json.loads(line)["step"] <= last_step), encoding="utf-8")


def _tag(name: str) -> str:
    for group in ("eval", "train"):
        if name.startswith(f"{group}_"):
            return f"{group}/{name.removeprefix(f'{group}_')}"
    return name if "/" in name else f"train/{name}"
