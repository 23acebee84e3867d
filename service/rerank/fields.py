"""Fields of a request that vLLM reads too, read as it does: "false" is False, "2" is 2, by pydantic's rules.

What vLLM cannot read counts here as absent, since vLLM refuses it with its own message.
"""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from service.rerank.errors import InvalidRequest

HUGE = 10**18
_LEAST, _MOST = -(2**63), 2**63 - 1  # of a number that the engine can be sent
T = TypeVar("T")
_INTEGER = TypeAdapter(int)
_OPTIONAL_INTEGER = TypeAdapter[int | None](int | None)
_NUMBER = TypeAdapter[float | None](float | None)
_BOOLEAN = TypeAdapter(bool)
# Of a form with a recording: what decides how much is generated for it, and what is ours.
_FORM_FIELD = re.compile(
    rb'name="?(n|use_beam_search|best_of|rerank|model)"?\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]{0,99})\r\n'
)


def _as_vllm(kind: TypeAdapter[T], value: Any, default: T) -> T:
    """A value as vLLM reads it, or the default."""
    try:
        return kind.validate_python(value)
    except ValidationError:
        return default


def flag(request: Mapping[str, Any], name: str) -> bool:
    """A field that is true or false."""
    return _as_vllm(_BOOLEAN, request.get(name), False)


def count(value: Any) -> int:
    """`n`. Raises InvalidRequest where it is out of all bounds."""
    n = _as_vllm(_INTEGER, value, 1)
    if not 1 <= n < HUGE:
        raise InvalidRequest("n must be at least 1" if n < 1 else "n is far too large", param="n")
    return n


def max_tokens(request: Mapping[str, Any]) -> int | None:
    """Of an answer, by the name that the endpoint has for it."""
    names = ("max_completion_tokens", "max_tokens", "max_output_tokens")
    given = (_as_vllm(_OPTIONAL_INTEGER, request.get(name), None) for name in names)
    return next((value for value in given if value is not None), None)


def is_greedy(request: Mapping[str, Any]) -> bool:
    """Temperature 0 is asked for."""
    return _as_vllm(_NUMBER, request.get("temperature"), None) == 0


def prompt_count(request: Mapping[str, Any]) -> int:
    """Of a request to /v1/completions."""
    prompt, embeds = request.get("prompt"), request.get("prompt_embeds")
    is_batch = isinstance(prompt, list) and prompt and isinstance(prompt[0], str | list)
    texts = len(prompt) if is_batch and prompt else 1 if prompt else 0
    embedded = len(embeds) if isinstance(embeds, list) else 1 if embeds else 0
    return max(texts + embedded, 1)


def check_shapes(request: Mapping[str, Any]) -> None:
    """Raises InvalidRequest, naming the field, for a body on which vLLM fails instead of refusing it."""
    if request.get("messages") == []:
        raise InvalidRequest("messages must hold at least one message", param="messages")
    if not isinstance(request.get("structured_outputs"), dict | None):
        raise InvalidRequest("structured_outputs must be an object", param="structured_outputs")
    for field, value in request.items():
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int) and not _LEAST <= number <= _MOST:
                raise InvalidRequest(f"{field}: a number here has to fit into 64 bits", param=field)
    items = request.get("input")
    for index, item in enumerate(items if isinstance(items, list) else ()):
        if isinstance(item, dict) and item.get("role") == "assistant" and isinstance(item.get("content"), list):
            _check_answer(item["content"], f"input.{index}.content")


def _check_answer(parts: list[Any], field: str) -> None:
    """Of an earlier answer in the input of /v1/responses vLLM takes the text of the first part."""
    if not parts:
        raise InvalidRequest(f"{field}: must hold at least one part", param=field)
    if isinstance(parts[0], dict) and parts[0].get("type") == "refusal":
        raise InvalidRequest(f"{field}.0: a refusal cannot be read; give it as output_text", param=f"{field}.0")


def form(body: bytes) -> dict[str, Any]:
    """The fields of a form that count. Of what looks like a field twice, in a recording say, the larger value."""
    found = [(name.decode(), value.decode(errors="replace")) for name, value in _FORM_FIELD.findall(body)]
    numbers = [_as_vllm(_INTEGER, value, 1) for name, value in found if name == "n"]
    beam = any(_as_vllm(_BOOLEAN, value, False) for name, value in found if name == "use_beam_search")
    return {**dict(found), "n": max(numbers, default=1), "use_beam_search": beam}
