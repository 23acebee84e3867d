"""Variants of one thing, of which a name chooses one, each with its own knobs: strategies, picks, ways to read heads.

A variant is one class in one file and one entry in the list of its kind. The fields of the class are its knobs: type,
bounds, help and default of each are declared there and nowhere else.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, LiteralString, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError, PydanticKnownError

UNREAD_KNOB = "unread_knob"  # type of the error for a knob of another variant


class Variant(BaseModel):
    """Its docstring begins with a line that serves as help."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: ClassVar[str]  # what a request or a setting calls it

    @classmethod
    def knobs(cls) -> tuple[str, ...]:
        """Names of what a request may set."""
        return tuple(cls.model_fields)


V = TypeVar("V", bound=Variant)


def known_knobs(variants: Sequence[type[Variant]]) -> tuple[str, ...]:
    """Of all variants, in their order, each once."""
    return tuple(dict.fromkeys(knob for variant in variants for knob in variant.knobs()))


def named(variants: Sequence[type[V]], name: Any) -> type[V]:
    """The variant of this name. Raises PydanticKnownError, which lists the names, where there is none."""
    for variant in variants:
        if variant.name == name:
            return variant
    names = [f"'{variant.name}'" for variant in variants]
    raise PydanticKnownError("literal_error", {"expected": _joined(names)})


def take(given: dict[str, Any], key: str, variants: Sequence[type[V]], default: type[V], *, unread: LiteralString) -> V:
    """The variant that `given` names under `key`, with its knobs, which stand beside; both are taken out of `given`.

    What is a variant already comes back as it is. unread: the sentence for a knob that only others read, with {knob},
    {readers} and {name}. Raises ValidationError for such a knob, for an unknown name, and for a knob out of bounds.
    """
    name = given.pop(key, default.name)
    if isinstance(name, Variant):
        return name  # type: ignore[return-value]  # of another kind: the model that takes it refuses it
    try:
        variant = named(variants, name)
    except PydanticKnownError as error:
        raise _fault({"type": error.type, "ctx": error.context or {}, "loc": (key,), "input": name}) from None
    for knob in known_knobs(variants):
        if knob in given and knob not in variant.knobs():
            readers = " or ".join(other.name for other in variants if knob in other.knobs())
            reason = PydanticCustomError(UNREAD_KNOB, unread, {"knob": knob, "readers": readers, "name": name})
            raise _fault({"type": reason, "loc": (knob,), "input": given[knob]})
    return variant.model_validate({knob: given.pop(knob) for knob in variant.knobs() if knob in given})


def help_of(variants: Sequence[type[Variant]]) -> str:
    """Every name with what it does, from the first lines of the docstrings."""
    return "; ".join(f"{variant.name}: {_summary(variant)}" for variant in variants)


def _summary(variant: type[Variant]) -> str:
    return (variant.__doc__ or "").partition("\n")[0].rstrip(".")


def _fault(details: InitErrorDetails) -> ValidationError:
    return ValidationError.from_exception_data("rerank", [details])


def _joined(names: Sequence[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
