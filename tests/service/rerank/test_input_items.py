"""Earlier answers in the input of /v1/responses."""

from typing import Any

import pytest

from service.rerank.errors import InvalidRequest
from service.rerank.input_items import check_items

TEXT = {"type": "output_text", "text": "4"}
REFUSAL = {"type": "refusal", "refusal": "no"}


def _answer(*parts: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(parts)}


@pytest.mark.parametrize(
    "items",
    [
        None,
        "2+2?",
        [],
        7,
        [{"role": "user", "content": []}, "odd", {"type": "reasoning", "summary": []}],
        [_answer(TEXT), _answer(TEXT, REFUSAL), {"role": "assistant", "content": "4"}],
    ],
)
def test_what_can_be_read_passes(items: Any) -> None:
    check_items(items)


@pytest.mark.parametrize(
    ("items", "field"),
    [
        ([_answer()], "input.0.content"),
        ([{"role": "user", "content": "2+2?"}, _answer(REFUSAL)], "input.1.content.0"),
    ],
)
def test_an_answer_without_text_is_refused_by_name(items: Any, field: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        check_items(items)
    assert raised.value.param == field
    assert str(raised.value).startswith(field)
