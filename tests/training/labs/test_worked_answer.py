"""Answers with worked steps, in both forms."""

import random

import pytest

from training.labs.worked_answer import judged, stated, stated_text, written


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


def test_equal_results_are_equal_as_text() -> None:
    assert stated_text("Answer: 0137", as_json=False) == stated_text('{"answer": 137}', as_json=True) == "137"
    assert stated_text("137", as_json=False) is None


def test_noise_turns_all_labels_over_or_none() -> None:
    right = [True, False]
    assert judged(right, noise=0.0, generator=random.Random(0)) == [1.0, 0.0]
    assert judged(right, noise=1.0, generator=random.Random(0)) == [0.0, 1.0]
