"""JSON that every program reads: a number that does not exist is null, where Python alone would write NaN."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any


def strict(value: Any) -> Any:
    """The same as what strict JSON can hold: dataclasses are objects, keys are text, what is not finite is null."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(key): strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def strict_json(value: Any, *, indent: int | None = 2) -> str:
    """`strict` as the text of a file."""
    return json.dumps(strict(value), indent=indent, allow_nan=False) + "\n"
