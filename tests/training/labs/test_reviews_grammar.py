"""What a clause of a review means."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.labs.reviews_grammar import PARTS, WHOLE, Statement, clause, report, statements, verdict

PRODUCTS = st.sampled_from(sorted(PARTS))


SEEDS = st.integers(0, 10_000)


@pytest.mark.parametrize(
    ("text", "strength"),
    [
        ("the spout is good", 0.7),
        ("the spout is very good", 1.0),
        ("the spout is quite good", 0.4),
        ("the spout is bad", -0.7),
        ("the spout is not good", -0.7),
        ("the spout is hardly good", -0.7),
        ("the spout is not very good", -0.4),
        ("the spout is by no means good", -1.0),
        ("the spout is far from bad", 1.0),
        ("the spout is not bad", 0.7),
        ("I do not love the spout", -0.7),
        ("I do not regret the spout", 0.7),
        ("I cannot admire the spout", -1.0),
        ("the spout never works well", -1.0),
        ("the spout mostly works well", 0.4),
        ("I wish the spout were good", -0.7),
        ("I wish the spout were bad", 0.7),
        ("the shop says that the spout is very good", 0.0),
        ("I had hoped that the spout is bad", 0.0),
        ("After a week the spout is good", 0.7),
        ("THE SPOUT IS GOOD", 0.7),
    ],
)
def test_a_clause_is_read_as_it_is_meant(text: str, strength: float) -> None:
    (said,) = statements(text)
    assert said.part == "spout"
    assert said.strength == pytest.approx(strength)


@pytest.mark.parametrize(
    ("text", "strength"),
    [
        ("overall I am very happy with it", 1.0),
        ("overall I am not disappointed with it", 0.7),
        ("I would never recommend it", -1.0),
        ("I would not sell it", 0.7),
        ("I would keep it", 0.7),
    ],
)
def test_a_verdict_is_on_the_whole(text: str, strength: float) -> None:
    (said,) = statements(text)
    assert said.part == WHOLE
    assert said.strength == pytest.approx(strength)


@pytest.mark.parametrize(
    "text", ["great great great", "the spout is good good", "the spout good", "it is good", "the is good", "good spout"]
)
def test_what_is_no_clause_of_the_grammar_says_nothing(text: str) -> None:
    assert statements(text) == [Statement()]


@given(part=PRODUCTS.flatmap(lambda product: st.sampled_from(PARTS[product])), praise=st.booleans(), seed=SEEDS)
def test_whatever_is_written_is_read_back(part: str, praise: bool, seed: int) -> None:
    own, told, whole = (
        statements(text)
        for text in (
            clause(part, praise=praise, generator=random.Random(seed)),
            report(part, praise=praise, generator=random.Random(seed)),
            verdict(praise=praise, generator=random.Random(seed)),
        )
    )
    assert [(each.part, each.strength > 0) for each in own + whole] == [(part, praise), (WHOLE, praise)]
    assert [(each.part, each.strength) for each in told] == [(part, 0.0)]
