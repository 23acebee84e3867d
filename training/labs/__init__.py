"""Synthetic worlds with a known gold reward, and the small checkpoints that were trained in them."""

from collections.abc import Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from measuring.near_miss import did_you_mean
from training.labs.arithmetic import Arithmetic
from training.labs.lab import Lab, LabOptionsError
from training.labs.reviews import Reviews
from training.labs.riddles import Riddles

LABS: Mapping[str, type[Lab]] = {"arithmetic": Arithmetic, "reviews": Reviews, "riddles": Riddles}
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


def lab(name: str, options: Mapping[str, Any] | None = None) -> Lab:
    """The lab of that name with these options, as YAML or the command line give them.

    Raises ValueError naming what there is, or the option at fault.
    """
    if name not in LABS:
        raise ValueError(f"no lab {name!r}{did_you_mean(name, LABS)} there are: {', '.join(LABS)}")
    kind = LABS[name]
    known = {item.name: item for item in fields(kind)}  # type: ignore[arg-type]  # every lab is a dataclass
    for option in options or {}:
        if option not in known:
            near = did_you_mean(option, known)
            raise LabOptionsError(f"the lab {name} has no option {option!r}{near} it has: {', '.join(known)}")
    return kind(**{option: _number(known[option], value) for option, value in (options or {}).items()})


def _number(option: Field[Any], value: Any) -> float:
    """Every option there is is a number. YAML's `1e-1` is text."""
    try:
        if not isinstance(value, bool):
            return float(value)
    except (TypeError, ValueError):
        pass
    raise LabOptionsError(f"lab_options.{option.name}: needs a number, not {value!r}")
