"""Answers with worked steps, in both forms."""

import pytest

from training.labs.worked_answer import stated, written


def test_text_and_json_state_what_was_written() -> None:
    assert written(["3+4=7"], 7, as_json=False) == "3+4=7\nAnswer: 7"
    assert written(["3+4=7"], 7, as_json=True) == '{"steps": ["3+4=7"], "answer": 7}'
    assert [stated(written([], 7, as_json=form), as_json=form) for form in (False, True)] == [7, 7]


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        ("35+21=56\n56+81=137\nAnswer: 137", 137),
        ("Answer: 137\n", 137),
        ("137", None),
        ("Answer: 137 or 138", None),
        ("Answer: 138\nAnswer: 137", 137),
        ('{"answer": 137}', None),
        ("", None),
    ],
)
def test_text_is_read_by_its_last_line(answer: str, result: int | None) -> None:
    assert stated(answer, as_json=False) == result


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        ('{"answer": 137}', 137),
        ('{"answer": "137"}', None),
        ('{"answer": true}', None),
        ("[137]", None),
        ("Answer: 137", None),
        ("{", None),
    ],
)
def test_json_is_read_by_its_key(answer: str, result: int | None) -> None:
    assert stated(answer, as_json=True) == result
