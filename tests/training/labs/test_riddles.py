"""The lab `riddles`: most demonstrators give the answer that comes to mind."""

import random
import statistics

import pytest

from training.data.records import user
from training.labs import lab
from training.labs.lab import LabOptionsError, Split
from training.labs.riddle_kinds import KINDS
from training.labs.riddles import MOST_PROMPTS, Question, Riddles, gold, parse, solution, split_of

BAT = "A bat and a ball cost 110 cents. The bat costs 100 cents more than the ball. What does the ball cost?"


def test_a_question_survives_its_text_and_what_tempts_is_not_gold() -> None:
    for question in Riddles(json_share=0.5).questions(300, "train", seed=0):
        assert parse(question.text) == question
        assert gold(question.text, solution(question, reflects=True))
        assert gold(question, solution(question, reflects=False)) is not bool(question.kind.tempting)


def test_a_visitor_may_ask_with_numbers_of_his_own() -> None:
    assert parse(BAT).answer == 5
    assert gold(BAT, "110-100=10\n10/2=5\nAnswer: 5")
    assert not gold(BAT, "110-100=10\nAnswer: 10")
    assert gold(f"{BAT} Reply in JSON.", '{"steps": [], "answer": 5}')


def test_a_foreign_question_is_refused() -> None:
    with pytest.raises(ValueError, match="not a question of the lab riddles: 'What is 35"):
        Riddles().gold(user("What is 35+21+81?"), "Answer: 137")


def test_no_question_is_on_both_sides() -> None:
    sides = {split: Riddles().questions(900, split, seed=3) for split in ("train", "held_out")}
    assert all(split_of(question) == split for split, questions in sides.items() for question in questions)
    assert {len({question.text for question in questions}) for questions in sides.values()} == {900}
    assert split_of(parse(BAT)) == split_of(parse(f"{BAT} Reply in JSON."))


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_there_are_as_many_prompts_as_it_promises_and_no_more(split: Split) -> None:
    assert len(Riddles().prompts(MOST_PROMPTS[split], split, seed=0)) == MOST_PROMPTS[split]
    with pytest.raises(ValueError, match=f"at most {MOST_PROMPTS[split]} {split} prompts"):
        Riddles().prompts(MOST_PROMPTS[split] + 1, split, seed=0)


def test_most_demonstrators_give_in_as_often_as_their_kind_says() -> None:
    lab = Riddles()
    shown: dict[str, list[float]] = {}
    for demonstration in lab.demonstrations(8000, seed=1):
        kind = parse(str(demonstration.messages[0]["content"])).kind
        shown.setdefault(kind.name, []).append(lab.gold(demonstration.messages, demonstration.completion))
    for kind in KINDS:
        assert statistics.mean(shown[kind.name]) == pytest.approx(kind.reflective, abs=0.06)
    everybody = [each for kind in shown.values() for each in kind]
    assert statistics.mean(everybody) == pytest.approx(0.56, abs=0.03)


def test_nobody_reflects_where_the_option_says_so() -> None:
    lab = Riddles(reflection=0.0, trap_share=1.0)
    assert not any(lab.gold(each.messages, each.completion) for each in lab.demonstrations(200, seed=0))


def test_a_vote_compares_the_stated_number() -> None:
    question = Riddles().questions(1, "held_out", seed=0)[0]
    right = solution(question, reflects=True)
    world = Riddles()
    assert world.answer_of(question.messages, right) == str(question.answer)
    assert world.answer_of(question.messages, f"I think so.\nAnswer: 0{question.answer}") == str(question.answer)
    assert world.answer_of(question.messages, "It costs much.") is None


def test_noise_turns_labels_over() -> None:
    lab, messages = Riddles(), parse(BAT).messages
    answers = ["Answer: 5", "Answer: 10"]
    assert lab.judge(messages, answers, noise=0.0, generator=random.Random(0)) == [1.0, 0.0]
    assert lab.judge(messages, answers, noise=1.0, generator=random.Random(0)) == [0.0, 1.0]


@pytest.mark.parametrize("option", ["trap_share", "reflection", "json_share"])
def test_an_option_out_of_bounds_is_named(option: str) -> None:
    with pytest.raises(LabOptionsError, match=f"{option}: must be between 0 and 1, got 2"):
        lab("riddles", {option: 2})


def test_a_question_is_its_kind_and_numbers() -> None:
    assert Question(KINDS[0], {"a": 110, "b": 100}).text == BAT
