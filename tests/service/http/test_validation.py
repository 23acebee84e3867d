"""Of pydantic's many errors the one that a person can act on."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from service.http.validation import field_error


class Text(BaseModel):
    type: str = Field(pattern="^text$")
    text: str


class Image(TypedDict):
    type: str
    url: dict[str, str]


class Request(BaseModel):
    stop: str | list[str] = Field(default=[], max_length=4)
    words: str | list[str] | None = None
    parts: list[Text | Image] | str = ""
    choice: dict[str, int] | bool = False


def told(body: Any) -> tuple[str, str | None]:
    try:
        TypeAdapter(Request).validate_python(body)
    except ValidationError as error:
        problems = [{**problem, "loc": ("body", *problem["loc"])} for problem in error.errors()]
        found = field_error(problems, body)
        return str(found), found.param
    raise AssertionError(body)


@pytest.mark.parametrize(
    ("body", "message", "param"),
    [
        ({"stop": list("abcde")}, "stop: Value should have at most 4 items after validation, not 5", "stop"),
        ({"words": [1, "a"]}, "words.0: Input should be a valid string", "words.0"),
        ({"words": 5}, "words: Input should be a valid string or a valid list", "words"),
        ({"words": {"str": 1}}, "words: Input should be a valid list", "words"),
        ({"parts": [{"type": "text"}]}, "parts.0.text: Field required", "parts.0.text"),
        ({"parts": [{"type": "x", "url": {"a": 1}}]}, "parts.0.url.a: Input should be a valid string", "parts.0.url.a"),
        (
            {"choice": {"a": "b"}},
            "choice.a: Input should be a valid integer, unable to parse string as an integer",
            "choice.a",
        ),
        ({"words": 5, "parts": 6}, "words: Input should be a valid string or a valid list", "words"),
        ([1], "Input should be a valid dictionary or instance of Request", None),
    ],
)
def test_of_a_union_the_branch_is_told_of_that_was_meant(body: Any, message: str, param: str | None) -> None:
    assert told(body) == (message, param)


@pytest.mark.parametrize(
    ("problems", "message", "param"),
    [
        (
            [{"loc": ["body", "messages", 0, "role"], "msg": "Field required"}],
            "messages.0.role: Field required",
            "messages.0.role",
        ),
        ([{"loc": ["body"], "msg": "JSON decode error"}], "JSON decode error", None),
        ([{"loc": ["body", "list[str]", "stop"], "msg": "too long"}], "stop: too long", "stop"),
        ([{}], "is not valid", None),
        ([], "is not valid", None),
        (["Unsupported Media Type: Only 'application/json' is allowed"] * 2, None, None),
        ([{"loc": ["body"], "msg": "odd", "ctx": {"error": type("E", (), {"parameter": "stop"})()}}], "odd", "stop"),
    ],
    ids=["path", "body", "union", "empty", "none", "sentence", "vLLM's own"],
)
def test_a_problem_is_one_sentence(problems: list[Any], message: str | None, param: str | None) -> None:
    error = field_error(problems)
    assert (str(error), error.param) == (message or problems[0], param)


def test_many_alternatives_are_cut() -> None:
    problems = [
        {
            "loc": ["body", "tools", 0, f"Tool{number}", "type"],
            "type": "literal_error",
            "msg": f"Input should be '{number}'",
        }
        for number in range(30)
    ]
    text = str(field_error(problems, {"tools": [{"type": "x"}]}))
    assert text.startswith("tools.0.type: Input should be '0' or '1' or '2' or")
    assert text.endswith("'7' or ...")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
_problem = st.fixed_dictionaries({}, optional=dict.fromkeys(("loc", "msg", "type", "ctx"), _json)) | _json


@settings(max_examples=200, deadline=None)
@given(st.lists(_problem), _json)
def test_no_odd_problem_breaks_it(problems: list[Any], body: Any) -> None:
    error = field_error(problems, body)
    assert str(error)
    json.dumps(error.param)
