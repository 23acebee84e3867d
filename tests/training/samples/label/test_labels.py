"""What every labeller is given and hands back."""

from pathlib import Path

import pytest

from training.data.formats.checks import DataError
from training.data.read import read_comparisons
from training.data.records import Comparison, user
from training.samples.label.labels import Labelled, record_key, refuse_to_overwrite, unlabelled, write

DRAWN = Comparison(user("q"), ("a", "b", "a"), (2, 1, 0), {"gold": (0.0, 1.0, 2.0)}, margin=0.5)


def test_a_labeller_sees_different_responses_and_nothing_that_was_known() -> None:
    assert unlabelled(DRAWN) == Comparison(user("q"), ("a", "b"))


def test_a_label_finds_its_record_by_prompt_and_responses_alone() -> None:
    assert record_key(DRAWN) == record_key(Comparison(user("q"), ("a", "b"), (0, 1)))
    assert record_key(DRAWN) != record_key(Comparison(user("other"), ("a", "b")))
    assert record_key(DRAWN) != record_key(Comparison(user("q"), ("b", "a")))


def test_labels_are_written_with_their_labeller_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "labels.jsonl"
    write(path, Labelled([Comparison(user("q"), ("a", "b"), (1, 0))], {"all tied": 2}), {"by": "me"})
    assert '"labelled_by": {"by": "me"}' in path.read_text(encoding="utf-8")
    comparisons, _ = read_comparisons(str(path))
    assert comparisons[0].ranks == (1, 0)
    with pytest.raises(DataError, match="already exists"):
        refuse_to_overwrite(path)


def test_nothing_labelled_is_an_error_that_says_why(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"0 labelled, 3 left out \(2 all tied, 1 odd\)"):
        write(tmp_path / "labels.jsonl", Labelled([], {"all tied": 2, "odd": 1, "none": 0}), {"by": "me"})
    assert list(tmp_path.iterdir()) == []
