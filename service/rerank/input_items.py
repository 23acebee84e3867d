"""What the items of a /v1/responses `input` have to hold for vLLM to make messages of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from service.rerank.errors import InvalidRequest


def check_items(items: Any) -> None:
    """Raises InvalidRequest, naming the part, for an earlier answer that holds no text.

    Of an answer that came from an API, with an id and a status, vLLM takes the text of the first part.
    """
    for index, item in enumerate(items if isinstance(items, Sequence) and not isinstance(items, str) else ()):
        if isinstance(item, Mapping) and item.get("role") == "assistant" and isinstance(item.get("content"), list):
            _check_answer(item["content"], f"input.{index}.content")


def _check_answer(parts: Sequence[Any], field: str) -> None:
    if not parts:
        raise InvalidRequest(f"{field}: must hold at least one part", param=field)
    if isinstance(parts[0], Mapping) and parts[0].get("type") == "refusal":
        raise InvalidRequest(f"{field}.0: a refusal cannot be read; give it as output_text", param=f"{field}.0")
