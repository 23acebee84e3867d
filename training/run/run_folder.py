"""The folder of a run: its settings, the state to resume from, and which process writes there.

Under several processes (`accelerate launch`, see training/accelerate) only the main one writes.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import PartialState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, get_last_checkpoint

from measuring.whole_file import write_json
from training.run.config import ConfigError, TrainingConfig

CONFIG_FILE = "training_config.json"
STATE_FOLDER = "state"
# Others wait this long for the main process, which may sample and measure alone.
PATIENCE = timedelta(hours=6)


def is_main() -> bool:
    """Whether this process is the one that writes files; true where there is only one."""
    return bool(_process().is_main_process)


def device() -> torch.device:
    """What this process trains on."""
    here: torch.device = _process().device
    return here


@contextmanager
def main_first() -> Iterator[None]:
    """The main process does the body first, so that the others find the files it wrote."""
    with _process().main_process_first():
        yield


def check(config: TrainingConfig, output: Path) -> None:
    """Raises ConfigError where `output` holds something to resume that other settings made."""
    settings, folder = output / CONFIG_FILE, output / STATE_FOLDER
    if not (folder.is_dir() and any(folder.iterdir())):
        return
    if json.loads(settings.read_text(encoding="utf-8")) != config.as_dict():
        raise ConfigError(
            f"{output} holds an interrupted run with other settings: finish it, remove {folder}, "
            "or choose another output"
        )


def claim(config: TrainingConfig, output: Path) -> Path:
    """Write down whose state follows, and return its folder. The main process calls it, once there is some to keep."""
    settings, folder = output / CONFIG_FILE, output / STATE_FOLDER
    output.mkdir(parents=True, exist_ok=True)
    write_json(settings, config.as_dict())
    folder.mkdir(exist_ok=True)
    return folder


def begin(config: TrainingConfig, output: Path) -> str | None:
    """Prepare the folder of a run and return the state to resume from, if one was interrupted there.

    A run begins when all is checked and read: from here on the folder is that of these settings. Raises ConfigError
    as `check` does.
    """
    check(config, output)
    process = _process()
    process.wait_for_everyone()
    if process.is_main_process:
        for state in claim(config, output).glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
            if not (state / TRAINER_STATE_NAME).is_file():  # it is written last
                shutil.rmtree(state)
    process.wait_for_everyone()
    last: str | None = get_last_checkpoint(str(output / STATE_FOLDER))
    return last


def finish(output: Path) -> None:
    """Remove the states to resume from; the checkpoint stays. Every process calls it."""
    process = _process()
    process.wait_for_everyone()
    if process.is_main_process:
        shutil.rmtree(output / STATE_FOLDER, ignore_errors=True)


def _process() -> PartialState:
    return PartialState(cpu=not torch.accelerator.is_available(), timeout=PATIENCE)
