"""The answer in a text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.rerank.selection.answers import Answer, extract


@pytest.mark.parametrize(
    ("answer", "text", "found"),
    [
        ("boxed", r"so \boxed{4} or \boxed{ x = 5 }.", "x = 5"),
        ("boxed", r"\boxed{\frac{1}{2}} done", r"\frac{1}{2}"),
        ("boxed", r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        ("boxed", r"\boxed{4} and \boxed{5", "4"),
        ("boxed", r"} \boxed {7} }", "7"),
        ("boxed", r"\boxed{}", None),
        ("boxed", "4", None),
        ("last_number", "3+4=7.", "7"),
        ("last_number", "it costs $1,234.50", "1234.5"),
        ("last_number", "1,2,3", "3"),
        ("last_number", "x = -5", "-5"),
        ("last_number", "x = \N{MINUS SIGN}5", "-5"),
        ("last_number", "9-4", "4"),
        ("last_number", "137.0", "137"),
        ("last_number", "007", "7"),
        ("last_number", "-0.0", "0"),
        ("last_number", "none", None),
        ("last_line", "a\nAnswer:  137 \n\n", "Answer: 137"),
        ("last_line", "  \n", None),
        ("exact", " a\n b \n", "a\n b"),
        ("exact", "", None),
    ],
)
def test_answers_by_hand(answer: Answer, text: str, found: str | None) -> None:
    assert extract(text, answer) == found


@settings(max_examples=80, deadline=None)
@given(
    st.text(alphabet="\\\\boxed{}0123,.- \n", max_size=60),
    st.sampled_from(["boxed", "last_number", "last_line", "exact"]),
)
def test_any_text_has_an_answer_of_its_own_or_none(text: str, answer: Answer) -> None:
    found = extract(text, answer)
    assert found is None or (found and found == found.strip())


@pytest.mark.parametrize("text", ["\\\\boxed{" * 20_000, "{" * 100_000, "1," * 50_000, "-" * 100_000, "\n" * 100_000])
@pytest.mark.parametrize("answer", ["boxed", "last_number", "last_line", "exact"])
def test_a_long_and_hostile_text_is_read_once(text: str, answer: Answer) -> None:
    extract(text, answer)  # were it quadratic, the suite would hang here
