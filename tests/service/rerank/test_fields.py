"""Fields that vLLM reads too: as it reads them. tests/service/rerank/test_request.py has what follows from them."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from service.rerank.errors import InvalidRequest
from service.rerank.fields import count, flag, form, is_greedy, max_tokens, prompt_count


class Theirs(BaseModel):
    """As vLLM declares its fields."""

    n: int | None = 1
    stream: bool | None = False
    temperature: float | None = None
    max_tokens: int | None = None


VALUES: list[Any] = [None, True, False, "true", "FALSE", "0", "1", "2", 0, 1, 2, 0.0, 1.0, 1.5, "", " 1 ", "x", [], {}]


def theirs(name: str, value: Any) -> Any:
    """None for what vLLM refuses."""
    try:
        return getattr(Theirs.model_validate({name: value}), name)
    except ValidationError:
        return None


@pytest.mark.parametrize("value", VALUES)
def test_each_kind_is_read_as_pydantic_does(value: Any) -> None:
    assert flag({"stream": value}, "stream") == bool(theirs("stream", value))
    assert is_greedy({"temperature": value}) == (theirs("temperature", value) == 0)
    assert max_tokens({"max_tokens": value}) == theirs("max_tokens", value)
    n = theirs("n", value)
    if n == 0:
        with pytest.raises(InvalidRequest):
            count(value)
    else:
        assert count(value) == (n or 1)


def test_what_is_absent_is_not_asked_for() -> None:
    assert (flag({}, "stream"), is_greedy({}), max_tokens({}), prompt_count({})) == (False, False, None, 1)


def test_a_form_without_such_fields_asks_for_one_answer() -> None:
    assert form(b"") == {"n": 1, "use_beam_search": False}
