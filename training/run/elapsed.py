"""How long a run has taken, whatever interrupted it."""

import json
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from measuring.whole_file import write_json
from training.run.run_folder import STATE_FOLDER

_FILE = "elapsed.json"


class Elapsed(TrainerCallback):
    """Counts from its making, on top of what a run in `output` had taken when its last state was saved."""

    def __init__(self, output: Path) -> None:
        self._began_s = time.monotonic()
        self._file = output / STATE_FOLDER / _FILE
        known = json.loads(self._file.read_text(encoding="utf-8")) if self._file.is_file() else {"seconds": 0.0}
        self._before_s = float(known["seconds"])

    @property
    def minutes(self) -> float:
        """Up to now."""
        return (self._before_s + time.monotonic() - self._began_s) / 60

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            write_json(self._file, {"seconds": 60 * self.minutes})
