"""Synthetic worlds with a known gold reward, and the small checkpoints that were trained in them."""

from importlib import import_module
from pathlib import Path
from types import ModuleType

LABS = ("arithmetic",)
_CHECKPOINTS = Path(__file__).parents[1] / "checkpoints"


def checkpoint(name: str) -> Path:
    """The folder of a bundled checkpoint, such as `arithmetic-sft`. Raises ValueError naming those that exist."""
    path = _CHECKPOINTS / name
    if not (path / "config.json").is_file():
        known = ", ".join(sorted(folder.name for folder in _CHECKPOINTS.glob("*/"))) or "none"
        raise ValueError(f"no bundled checkpoint {name!r}; there are: {known}")
    return path


def model_path(name: str) -> str:
    """A local folder, the folder of a bundled checkpoint, or else the name of a model on the Hugging Face Hub."""
    if not Path(name).exists() and (_CHECKPOINTS / name / "config.json").is_file():
        return str(checkpoint(name))
    return name


def lab(name: str) -> ModuleType:
    """The module of a lab. Raises ValueError naming those that exist."""
    if name not in LABS:
        raise ValueError(f"no lab {name!r}; there are: {', '.join(LABS)}")
    return import_module(f"training.labs.{name}")
