"""From a judge's replies to ranks."""

import math
import random

import pytest

from training.data.records import Comparison, user
from training.samples.label.verdicts import PairVerdicts, combine, pairs_to_judge, parse_verdict


def sample(*responses: str, prompt: str = "q") -> Comparison:
    return Comparison(user(prompt), responses)


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ('{"better": "A"}', "A"),
        ('A is wordy. {B}\n{"better": "B"}\n', "B"),
        ('```json\n{\n  "better": "tie"\n}\n```', "tie"),
        ("I thought about it.\nB", "B"),
        ('{"better": "A"} but on the other hand', None),
        ('{"better": "C"}', None),
        ('{"best": "A"}', None),
        ('{"better": ["A"]}', None),
        ("Response A is better", None),
        ("A or B", None),
        ("", None),
    ],
)
def test_a_verdict_is_read_or_not_but_never_guessed(reply: str, verdict: str | None) -> None:
    assert parse_verdict(reply) == verdict


def test_only_agreement_makes_a_winner() -> None:
    assert PairVerdicts((4, 7), ("A", "B")).better == 4
    assert PairVerdicts((4, 7), ("B", "A")).better == 7
    for tie in (("A", "A"), ("B", "B"), ("A", "tie"), ("tie", "A"), ("tie", "tie")):
        pair = PairVerdicts((4, 7), tie)
        assert pair.better is None
        assert pair.agrees == (tie == ("tie", "tie"))
    assert not PairVerdicts((4, 7), ("A", None)).readable


def test_pairs_cover_everything_or_link_as_much_as_they_can() -> None:
    generator = random.Random(0)
    for count in range(2, 8):
        every = pairs_to_judge(count, 0, generator)
        assert {frozenset(pair) for pair in every} == {frozenset((i, j)) for i in range(count) for j in range(i)}
        assert len(every) == math.comb(count, 2)
        for limit in range(1, count):
            assert len({index for pair in pairs_to_judge(count, limit, generator) for index in pair}) == limit + 1


def test_ranks_count_wins_and_half_a_tie() -> None:
    judged = [
        PairVerdicts((0, 1), ("A", "B")),
        PairVerdicts((0, 2), ("A", "B")),
        PairVerdicts((0, 3), ("A", "A")),
        PairVerdicts((1, 2), ("A", "A")),
        PairVerdicts((1, 3), ("B", "A")),
        PairVerdicts((2, 3), ("B", "A")),
    ]
    (ranked,) = combine(sample("a", "b", "c", "d"), judged)
    assert ranked.responses == ("a", "b", "c", "d")
    assert ranked.ranks == (0, 1, 1, 0)
    assert not combine(sample("a", "b"), [PairVerdicts((0, 1), ("A", "A"))])


def test_nothing_is_said_of_pairs_that_nobody_judged() -> None:
    judged = [
        PairVerdicts((2, 1), ("A", "B")),
        PairVerdicts((1, 0), ("B", "A")),
        PairVerdicts((0, 2), ("A", None)),
    ]
    pairs = combine(sample("a", "b", "c"), judged)
    assert [(pair.responses, pair.ranks, pair.weight) for pair in pairs] == [
        (("c", "b"), (0, 1), 0.5),
        (("a", "b"), (0, 1), 0.5),
    ]
    assert not combine(sample("a", "b"), [PairVerdicts((0, 1), (None, "A"))])
