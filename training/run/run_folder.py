"""The folder of a run: its settings, the state to resume from, and which process writes there.

Under several processes (`accelerate launch`, see training/accelerate) only the main one writes.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from accelerate import PartialState
from transformers.trainer_utils import get_last_checkpoint

from training.config import ConfigError
from training.settings import TrainingConfig

CONFIG_FILE = "training_config.json"
STATE_FOLDER = "state"
# Others wait this long for the main process, which may sample and measure alone.
PATIENCE = timedelta(hours=6)


def is_main() -> bool:
    """Whether this process is the one that writes files; true where there is only one."""
    return bool(_process().is_main_process)


@contextmanager
def main_first() -> Iterator[None]:
    """The main process does the body first, so that the others find the files it wrote."""
    with _process().main_process_first():
        yield


def begin(config: TrainingConfig, output: Path) -> str | None:
    """Prepare the folder of a run and return the state to resume from, if one was interrupted there.

    Raises ConfigError when the interrupted run had other settings.
    """
    settings, folder = output / CONFIG_FILE, output / STATE_FOLDER
    if folder.is_dir() and json.loads(settings.read_text(encoding="utf-8")) != config.as_dict():
        raise ConfigError(
            f"{output} holds an interrupted run with other settings: finish it, remove {folder}, "
            "or choose another output"
        )
    process = _process()
    process.wait_for_everyone()
    if process.is_main_process:
        output.mkdir(parents=True, exist_ok=True)
        settings.write_text(json.dumps(config.as_dict(), indent=2) + "\n", encoding="utf-8")
        folder.mkdir(exist_ok=True)
    process.wait_for_everyone()
    state: str | None = get_last_checkpoint(str(folder))
    return state


def finish(output: Path) -> None:
    """Remove the states to resume from; the checkpoint stays. Every process calls it."""
    process = _process()
    process.wait_for_everyone()
    if process.is_main_process:
        shutil.rmtree(output / STATE_FOLDER, ignore_errors=True)


def _process() -> PartialState:
    return PartialState(timeout=PATIENCE)
