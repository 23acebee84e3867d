"""Held-out samples, their gold reward and best-of-n, as model cards tell them."""

import numpy as np
import pytest

from reward.expected_best import best_of_n
from training.data.records import Comparison
from training.evaluation import measure
from training.evaluation.baselines import GREEDY, Pool, Single, baselines
from training.evaluation.scoring import score
from training.labs import checkpoint, lab
from training.labs.arithmetic import Question, solution

WORLD = lab("arithmetic")


def ranked(drawn: list[Comparison]) -> measure.BestOfNCurve:
    rewards = np.array(score(drawn, "arithmetic-reward").normalised())
    return measure.best_of_n_curve(rewards, measure.gold(WORLD, drawn))


def test_the_bundled_reward_model_ranks_right_above_wrong() -> None:
    asked = [Question((n, n + 7, 40)) for n in range(11, 41)]
    drawn = [Comparison(q.messages, (solution(q, mistake_at=0, mistake=2), solution(q))) for q in asked]
    measured = ranked(drawn)
    assert measured.gold[1].value == pytest.approx(0.5)
    assert measured.gold[2].value >= 0.9
    assert measured.best_of_largest.value == pytest.approx(1)
    assert measured.proxy[2].value > measured.proxy[1].value


def test_the_bundled_pair_turns_more_samples_into_better_answers() -> None:
    drawn = measure.held_out_samples(WORLD, "arithmetic-sft", kind="transformers", prompts=60, count=16)
    measured = ranked(drawn)
    assert 0.4 <= measured.gold[1].value <= 0.8
    assert measured.closed.value >= 0.8
    assert "Best-of-16 closes" in measured.table()


def test_best_of_n_of_known_rewards() -> None:
    generator = np.random.default_rng(0)
    proxy, true = generator.normal(size=(8, 6)), generator.normal(size=(8, 6))
    measured = measure.best_of_n_curve(proxy, true)
    assert list(measured.gold) == list(measured.proxy) == [1, 2, 4, 6]
    expected = np.mean([best_of_n(p, g, 4) for p, g in zip(proxy, true, strict=True)])
    assert measured.gold[4].value == pytest.approx(expected)
    assert measured.proxy[6].value == pytest.approx(proxy.max(axis=1).mean())
    assert measured.best_of_largest.value == pytest.approx(true.max(axis=1).mean())


def test_a_card_has_the_best_free_baseline_beside_each_n() -> None:
    generator = np.random.default_rng(0)
    proxy, true = generator.normal(size=(2, 8, 4))
    greedy = Single(np.full((8, 1), 5.0), np.ones((8, 1)))
    free = baselines(Pool(true, np.ones_like(true), reward=proxy, singles={GREEDY: greedy}), [1, 2, 4])
    table = measure.best_of_n_curve(proxy, true).table(free)
    assert f"| greedy: 5.000 [5.000, 5.000] | {free.worth_over_best[4]} |" in table
    assert "| one greedy answer | 5.000 [5.000, 5.000] |" in table
    assert free.sentence in table
    widths = {line.count("|") for line in table.splitlines() if line.startswith("|")}
    assert widths == {8}


def test_a_policy_is_told_with_one_sample_and_the_best_of_all() -> None:
    found = measure.policy_gold(WORLD, checkpoint("arithmetic-sft"), prompts=6, count=4)
    assert 0 < found.single.value < found.best.value <= 1
    assert "pass@4" in found.table()


def test_policies_are_asked_the_same_prompts_whatever_the_seed() -> None:
    first, second = (
        measure.held_out_samples(WORLD, "arithmetic-sft", kind="transformers", prompts=4, count=2, seed=seed)
        for seed in (1, 2)
    )
    assert [s.messages for s in first] == [s.messages for s in second]
    assert [s.responses for s in first] != [s.responses for s in second]
