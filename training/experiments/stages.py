"""Long work in stages that are done once: what was finished is never done again, so what was interrupted goes on.

A stage is a folder with a mark in it, or a JSON file with a result.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from measuring.whole_file import write_json
from training.run.config import Config, ConfigError

DONE, SETTINGS_FILE = ".done", "settings.json"


class Stages:
    """One run with `config` in `output`. Raises ConfigError where `output` holds one with other settings."""

    def __init__(self, config: Config, output: Path) -> None:
        self.output, self.console = output, Console(stderr=True)
        path = output / SETTINGS_FILE
        if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != config.as_dict():
            raise ConfigError(f"{output} holds a run with other settings: choose another output, or remove it")
        output.mkdir(parents=True, exist_ok=True)
        write_json(path, config.as_dict())

    def stage(self, name: str, work: Callable[[Path], object]) -> Path:
        """The folder of the stage, after `work` has filled it."""
        folder = self.output / name
        if not (folder / DONE).is_file():
            self.console.print(f"[bold]{name}[/bold]")
            folder.mkdir(parents=True, exist_ok=True)
            work(folder)
            (folder / DONE).touch()
        return folder

    def result(self, name: str, compute: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """Numbers that are computed once; they come back as JSON holds them."""
        if not self.has(name):
            self.console.print(f"[bold]{name}[/bold]")
            path = self._result_path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, compute())
        return self.read(name)

    def read(self, name: str) -> dict[str, Any]:
        """A result that has been computed."""
        values: dict[str, Any] = json.loads(self._result_path(name).read_text(encoding="utf-8"))
        return values

    def has(self, name: str) -> bool:
        """Whether this result has been computed."""
        return self._result_path(name).is_file()

    def _result_path(self, name: str) -> Path:
        return self.output / f"{name}.json"
