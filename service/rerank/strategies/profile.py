"""How the strategies of this server are set where a request leaves a knob open.

`bestofn replay --learn` writes such a file: what a trace can teach is learned, the rest stays the user's to set.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import TypeAdapter, ValidationError

from service.rerank import strategies
from service.rerank.strategies.knobs import StrategyOptions

_OBJECT = TypeAdapter(dict[str, Any])
Options = TypeVar("Options", bound=StrategyOptions)


@dataclass(frozen=True)
class StrategyProfile:
    """The file that `--strategy-profile` names: a JSON object with the profiled knobs of all strategies."""

    values: Mapping[str, Any]  # by knob

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """What `given` leaves out has its default. Raises ValidationError for an unknown knob, or one out of bounds."""
        values: dict[str, Any] = {}
        for kind in strategies.STRATEGIES:
            made = kind.model_validate({knob: given[knob] for knob in kind.profiled() if knob in given}, strict=False)
            values |= {knob: getattr(made, knob) for knob in kind.profiled()}
        for knob in given:
            if knob not in values:
                unknown = {"type": "extra_forbidden", "loc": (knob,), "input": given[knob]}
                raise ValidationError.from_exception_data("profile", [unknown])  # type: ignore[list-item]
        return cls(values)

    @classmethod
    def read(cls, path: str) -> Self:
        """Raises ValueError, naming file and field, for what is not such a file."""
        try:
            return cls.of(_OBJECT.validate_json(Path(path).read_bytes()))
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror}") from None
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "the file"
            raise ValueError(f"{path}: {field}: {first['msg']}") from None

    def to_json(self) -> str:
        """The content of such a file."""
        return _OBJECT.dump_json(dict(self.values), indent=2).decode() + "\n"

    def complete(self, asked: Options) -> Options:
        """What a request asked for, and for the rest what the profile has."""
        open_knobs = set(asked.profiled()) - asked.model_fields_set
        return asked.model_copy(update={knob: value for knob, value in self.values.items() if knob in open_knobs})


DEFAULTS = StrategyProfile.of({})
