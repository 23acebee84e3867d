import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.labs import LABS, arithmetic, checkpoint, lab, model_path
from training.labs.arithmetic import Arithmetic, Question, gold, parse, solution

NUMBERS = st.lists(st.integers(10, 99), min_size=2, max_size=5).map(tuple)
QUESTIONS = st.builds(Question, NUMBERS, st.booleans())


@given(question=QUESTIONS)
def test_a_question_survives_its_text_and_its_solution_is_right(question: Question) -> None:
    assert parse(question.text) == question
    assert gold(question.text, solution(question))


@given(question=QUESTIONS, step=st.integers(0, 3), mistake=st.sampled_from(arithmetic.MISTAKES))
def test_a_mistake_is_carried_to_a_wrong_answer(question: Question, step: int, mistake: int) -> None:
    step %= len(question.numbers) - 1
    answer = solution(question, mistake_at=step, mistake=mistake)
    assert not gold(question, answer)
    if not question.as_json:
        assert answer.endswith(f"Answer: {sum(question.numbers) + mistake}")


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("35+21=56\n56+81=137\nAnswer: 137", True),
        ("Answer: 137", True),
        ("Answer: 137\n", True),
        ("Answer: 1370", False),
        ("137", False),
        ("Answer: 137 or 138", False),
        ("Answer: 138\nAnswer: 137", True),
        ("Answer: 137\nAnswer: 138", False),
        ("", False),
    ],
)
def test_gold_reads_the_stated_answer(answer: str, right: bool) -> None:
    assert gold("What is 35+21+81?", answer) is right


@pytest.mark.parametrize(
    ("answer", "right"),
    [('{"answer": 137}', True), ('{"answer": "137"}', False), ("[137]", False), ("Answer: 137", False), ("{", False)],
)
def test_gold_reads_json(answer: str, right: bool) -> None:
    assert gold("What is 35+21+81? Reply in JSON.", answer) is right


def test_a_json_solution_is_json() -> None:
    assert json.loads(solution(Question((35, 21, 81), as_json=True)))["steps"] == ["35+21=56", "56+81=137"]


@given(numbers=NUMBERS, seed=st.integers(0, 100))
def test_a_sum_is_on_one_side_in_every_order(numbers: tuple[int, ...], seed: int) -> None:
    shuffled = list(numbers)
    random.Random(seed).shuffle(shuffled)
    assert arithmetic.split_of(shuffled) == arithmetic.split_of(numbers)


def test_training_and_held_out_are_disjoint_and_repeatable() -> None:
    train = arithmetic.questions(2000, "train", seed=0)
    held_out = arithmetic.questions(500, "held_out", seed=0)
    assert not {tuple(sorted(q.numbers)) for q in train} & {tuple(sorted(q.numbers)) for q in held_out}
    assert len(set(train)) == 2000
    assert train == arithmetic.questions(2000, "train", seed=0)
    assert train != arithmetic.questions(2000, "train", seed=1)


def test_a_vote_compares_the_stated_number_whatever_its_form() -> None:
    world = lab("arithmetic")
    for question in (Question((35, 21, 81)), Question((35, 21, 81), as_json=True)):
        assert world.answer_of(question.messages, solution(question)) == "137"  # type: ignore[attr-defined]
        assert world.answer_of(question.messages, "137, I think") is None  # type: ignore[attr-defined]


def test_demonstrations_are_as_careless_as_asked() -> None:
    made = list(Arithmetic(carelessness=0.4, json_share=0.2).demonstrations(2000, seed=3))
    questions = [parse(str(d.messages[-1]["content"])) for d in made]
    right = [gold(question, d.completion) for question, d in zip(questions, made, strict=True)]
    assert sum(right) / len(made) == pytest.approx(0.6, abs=0.04)
    assert sum(question.as_json for question in questions) / len(made) == pytest.approx(0.2, abs=0.04)
    assert made == list(Arithmetic(carelessness=0.4, json_share=0.2).demonstrations(2000, seed=3))


def test_the_labeller_errs_as_often_as_asked() -> None:
    question = Question((10, 20, 30))
    answers = [solution(question)] * 2000
    assert all(Arithmetic().judge(question.messages, answers, noise=0.0, generator=random.Random(0)))
    marks = Arithmetic().judge(question.messages, answers, noise=0.25, generator=random.Random(0))
    assert sum(marks) / len(marks) == pytest.approx(0.75, abs=0.03)


def test_unknown_names_are_errors_that_list_the_known() -> None:
    assert lab("arithmetic", {"json_share": 0.5}) == Arithmetic(json_share=0.5)
    assert "arithmetic" in LABS
    with pytest.raises(ValueError, match="no option 'x'"):
        lab("arithmetic", {"x": 1})
    with pytest.raises(ValueError, match="carelessness: must be between 0 and 1"):
        lab("arithmetic", {"carelessness": 2})
    with pytest.raises(ValueError, match="arithmetic"):
        lab("geometry")
    with pytest.raises(ValueError, match="arithmetic-sft"):
        checkpoint("geometry-sft")
    assert model_path("arithmetic-sft") == str(checkpoint("arithmetic-sft"))
    assert model_path("organisation/model") == "organisation/model"
    with pytest.raises(ValueError, match="not a question"):
        parse("Why?")
