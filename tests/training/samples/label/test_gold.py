"""The lab's own labeller: it names, ranks or scores, errs as often as asked, and counts what it leaves out."""

from collections import Counter

import pytest

from training.data.records import Comparison, user
from training.labs import lab
from training.samples.label import gold
from training.samples.label.labels import ALL_TIED, NOTHING_TO_COMPARE, Labelled

PROMPT = user("What is 10+20+30?")
RIGHT, WRONG = "Answer: 60", "Answer: 61"


def labelled(*responses: str, kind: str = "ranking", noise: float = 0.0, count: int = 1) -> Labelled:
    drawn = [Comparison(PROMPT, responses, scores={"reward": (0.0,) * len(responses)}, margin=1.0, weight=2.0)] * count
    return gold.label(lab("arithmetic"), drawn, kind=kind, noise=noise, seed=0)


def test_gold_ranks_different_answers_and_forgets_what_was_known() -> None:
    (one,) = labelled(WRONG, RIGHT, WRONG, "60").comparisons
    assert one == Comparison(PROMPT, (WRONG, RIGHT, "60"), ranks=(1, 0, 1), weight=2.0)


def test_gold_names_one_best_whatever_ties_with_it() -> None:
    others = [RIGHT, f" {RIGHT}", f"\n{RIGHT}"]
    assert [lab("arithmetic").gold(PROMPT, text) for text in others] == [1, 0, 1]
    best = Counter(c.best for c in labelled(WRONG, RIGHT, f"\n{RIGHT}", kind="best", count=200).comparisons)
    assert set(best) == {1, 2}
    assert 60 < best[1] < 140


def test_gold_scores_every_answer() -> None:
    (one,) = labelled(WRONG, RIGHT, kind="scores").comparisons
    assert one.scores == {"score": (0.0, 1.0)}
    assert not one.ranks


def test_gold_says_what_it_leaves_out() -> None:
    drawn = [Comparison(PROMPT, (WRONG, "61")), Comparison(PROMPT, (RIGHT, RIGHT)), Comparison(PROMPT, (RIGHT, WRONG))]
    result = gold.label(lab("arithmetic"), drawn, kind="ranking", noise=0.0, seed=0)
    assert result.left_out == {ALL_TIED: 1, NOTHING_TO_COMPARE: 1}
    assert result.summary() == f"1 labelled, 2 left out (1 {ALL_TIED}, 1 {NOTHING_TO_COMPARE})"


def test_noise_turns_labels_over_as_often_as_it_should() -> None:
    noisy = labelled(RIGHT, WRONG, noise=0.3, count=2000).comparisons
    turned = sum(c.best == 1 for c in noisy) / len(noisy)
    assert turned == pytest.approx(0.09 / (0.09 + 0.49), abs=0.04)
    assert len(noisy) / 2000 == pytest.approx(0.58, abs=0.04)
