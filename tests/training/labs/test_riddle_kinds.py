"""Kinds of riddles: each is read as it was asked, and what tempts is wrong."""

import random

import pytest

from training.labs.riddle_kinds import KINDS, Kind, work

SEEDS = range(200)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_question_is_read_as_it_was_asked_and_by_no_other_kind(kind: Kind) -> None:
    for seed in SEEDS:
        numbers = kind.draw(random.Random(seed))
        text = kind.ask(numbers)
        assert kind.read(text) == numbers
        assert [other.name for other in KINDS if other.read(text)] == [kind.name]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.tempting], ids=lambda kind: kind.name)
def test_what_tempts_is_wrong(kind: Kind) -> None:
    for seed in SEEDS:
        numbers = kind.draw(random.Random(seed))
        assert work(kind.right, numbers)[1] != work(kind.tempting, numbers)[1]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_step_is_a_true_equation_of_natural_numbers(kind: Kind) -> None:
    for seed in SEEDS:
        for steps in filter(None, (kind.right, kind.tempting)):
            lines, result = work(steps, kind.draw(random.Random(seed)))
            assert result > 0
            assert len(lines) == len(steps.split())
            for line in lines:
                left, right = line.split("=")
                assert eval(left) == int(right) >= 0  # our own text, of digits and a sign


def test_the_bat_and_the_ball() -> None:
    bat = KINDS[0]
    numbers = {"a": 110, "b": 100}
    assert work(bat.right, numbers) == (["110-100=10", "10/2=5"], 5)
    assert work(bat.tempting, numbers) == (["110-100=10"], 10)


def test_every_riddle_has_its_twin_behind_it_that_takes_the_tempting_steps() -> None:
    for riddle, twin in zip(KINDS[::2], KINDS[1::2], strict=True):
        numbers = riddle.draw(random.Random(0))
        assert riddle.reflective < 1
        assert not twin.tempting
        assert work(riddle.tempting, numbers) == work(twin.right, numbers)


def test_a_number_that_stands_twice_in_a_question_has_to_be_the_same() -> None:
    machines = next(kind for kind in KINDS if kind.name == "machines")
    text = machines.ask({"m": 4, "k": 12, "t": 6})
    assert machines.read(text) == {"m": 4, "k": 12, "t": 6}
    assert machines.read(text.replace("4 machines", "5 machines")) is None
