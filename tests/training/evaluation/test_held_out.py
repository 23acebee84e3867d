"""The answers that free baselines need, from the bundled policy."""

import numpy as np
import pytest

from training.data.records import Comparison
from training.evaluation import held_out
from training.evaluation.measure import gold, held_out_samples
from training.evaluation.policy import load_policy
from training.labs import lab
from training.labs.arithmetic import Question, solution
from training.policy.completion_logprobs import completion_logprobs

WORLD = lab("arithmetic")


@pytest.fixture(scope="module")
def drawn() -> held_out.HeldOut:
    return held_out.held_out(WORLD, "arithmetic-sft", kind="transformers", prompts=6, count=5)


def test_samples_are_those_of_any_measurement_and_one_greedy_answer_is_beside_them(drawn: held_out.HeldOut) -> None:
    assert drawn.samples == held_out_samples(WORLD, "arithmetic-sft", kind="transformers", prompts=6, count=5)
    counts = {name: {len(one.responses) for one in given} for name, given in drawn.singles.items()}
    assert counts == {"greedy": {1}, "temperature 0.3": {4}, "temperature 0.7": {4}}
    assert all(
        [one.messages for one in given] == [s.messages for s in drawn.samples] for given in drawn.singles.values()
    )


def test_a_pool_holds_what_each_sample_is_worth_and_what_the_policy_thinks_of_it(drawn: held_out.HeldOut) -> None:
    reward = [np.arange(5, dtype=np.float64) for _ in range(6)]
    pool = held_out.pool_of(WORLD, "arithmetic-sft", drawn, reward)
    model, template = load_policy("arithmetic-sft")
    logprobs = completion_logprobs(model, template, drawn.samples, max_tokens=WORLD.answer_tokens)
    assert pool.logprob == pytest.approx(np.array([[each.sum() for each in row] for row in logprobs]), abs=1e-3)
    assert pool.tokens.tolist() == [[len(each) for each in row] for row in logprobs]
    assert pool.reward is not None
    assert pool.reward.tolist() == [[0, 1, 2, 3, 4]] * 6
    assert pool.gold.tolist() == gold(WORLD, drawn.samples).tolist()
    assert pool.singles["temperature 0.7"].gold.shape == (6, 4)
    assert pool.singles["greedy"].tokens.shape == (6, 1)


def test_a_vote_needs_a_lab_with_answers() -> None:
    asked = Question((10, 20, 30))
    sample = Comparison(asked.messages, (solution(asked), "no idea"))
    assert held_out.answers(WORLD, [sample]) == [["60", None]]
    assert held_out.answers(lab("riddles"), []) == []
    assert held_out.answers(lab("reviews"), [sample]) is None
