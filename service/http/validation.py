"""What is wrong with a request's body, as one sentence that names the field: of pydantic's errors the one that counts.

For a union pydantic gives the errors of every branch, each under the branch's own name. Here they are put back into a
tree, and of each union the branch is kept that the client most likely meant.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.rerank.errors import InvalidRequest

_UNREADABLE = "is not valid"
_SHOULD_BE = "Input should be "
_SHOWN_ALTERNATIVES = 8
# How pydantic calls the branches of a union and its own wrappers, beside what no field is called.
_BRANCH = re.compile(
    r".*\W.*|[A-Z].*|str|int|float|bool|bytes|list|tuple|dict|set|none|nullable|union|default", re.DOTALL
)
# Errors that say of a value that it is of another type altogether.
_OTHER_TYPE = re.compile(r".*_type|none_required|.*_parsing")
_OTHER_LITERAL = ("literal_error", "enum", "missing")


@dataclass
class _Place:
    """A place in the body. problems: those of its value itself. inside: by name of a field, or index."""

    problems: list[Mapping[str, Any]] = field(default_factory=list)
    inside: dict[str | int, "_Place"] = field(default_factory=dict)
    branches: dict[str, "_Place"] = field(default_factory=dict)


def field_error(problems: Sequence[Any], body: Any = None) -> InvalidRequest:
    """problems: as FastAPI collects them; some libraries put sentences there. body: what was to be read, if known."""
    known = [problem for problem in problems if isinstance(problem, Mapping)]
    if not known:
        sentence = next((problem for problem in problems if isinstance(problem, str) and problem), _UNREADABLE)
        return InvalidRequest(sentence)
    root = _Place()
    for problem in known:
        _put(problem, root, body)
    path, found = _choose(root)
    name = ".".join(map(str, path)) or _parameter(found[0])
    text = _one_of(list(dict.fromkeys(str(problem.get("msg") or _UNREADABLE) for problem in found)))
    return InvalidRequest(f"{name}: {text}" if path else text, param=name or None)


def _one_of(messages: Sequence[str]) -> str:
    """Messages of which one was to be heeded, as one."""
    shown = list(messages[:_SHOWN_ALTERNATIVES])
    if all(message.startswith(_SHOULD_BE) for message in shown):
        shown = [shown[0], *(message.removeprefix(_SHOULD_BE) for message in shown[1:])]
    return " or ".join(shown) + (" or ..." if len(messages) > len(shown) else "")


def _put(problem: Mapping[str, Any], place: _Place, value: Any) -> None:
    """Into the tree, along its location; `value` is what the body has there."""
    location = () if problem.get("type") == "json_invalid" else problem.get("loc")  # where the text of JSON breaks
    parts = list(location) if isinstance(location, list | tuple) else []
    for part in parts[1:] if parts[:1] == ["body"] else parts:
        name = part if isinstance(part, int) else str(part)
        if isinstance(name, str) and _is_branch(name, value):
            place = place.branches.setdefault(name, _Place())
        else:
            value = _inside(value, name)
            place = place.inside.setdefault(name, _Place())
    place.problems.append(problem)


def _is_branch(name: str, value: Any) -> bool:
    is_field = isinstance(value, dict) and name in value
    return not is_field and _BRANCH.fullmatch(name) is not None


def _inside(value: Any, part: str | int) -> Any:
    try:
        return value[part]
    except (LookupError, TypeError):
        return None


def _choose(place: _Place) -> tuple[list[str | int], Sequence[Mapping[str, Any]]]:
    """The path from here to what is wrong, and the problems there: several where branches of a union fit alike."""
    if place.branches:
        best = max(map(_fit, place.branches.values()))
        chosen = [_choose(branch) for branch in place.branches.values() if _fit(branch) == best]
        path = chosen[0][0]
        return path, [*place.problems, *(problem for other, found in chosen if other == path for problem in found)]
    if place.problems or not place.inside:
        return [], place.problems[:1]
    part, inner = next(iter(place.inside.items()))
    path, found = _choose(inner)
    return [part, *path], found


def _fit(branch: _Place) -> tuple[bool, bool, int, int]:
    """Larger for a branch that was more likely meant: the value is of its type, it has its kind, and it got deep."""
    kinds = [problem for inner in branch.inside.values() for problem in inner.problems]
    other_kind = any(problem.get("type") in _OTHER_LITERAL for problem in kinds)
    return not _misfits(branch), not other_kind, _depth(branch), -_count(branch)


def _misfits(branch: _Place) -> bool:
    """Whether the value is of another type than the branch takes, in each of the branch's own branches."""
    if any(_OTHER_TYPE.fullmatch(str(problem.get("type"))) for problem in branch.problems):
        return True
    return bool(branch.branches) and not branch.inside and all(map(_misfits, branch.branches.values()))


def _depth(place: _Place) -> int:
    deeper = [1 + _depth(inner) for inner in place.inside.values()]
    return max([*deeper, *map(_depth, place.branches.values())], default=0)


def _count(place: _Place) -> int:
    return len(place.problems) + sum(map(_count, [*place.inside.values(), *place.branches.values()]))


def _parameter(problem: Mapping[str, Any]) -> str:
    """The field that an error of vLLM's own names, where it has no place in the body."""
    context = problem.get("ctx")
    error = context.get("error") if isinstance(context, Mapping) else None
    name = getattr(error, "parameter", None)
    return name if isinstance(name, str) else ""
