"""Every way to choose against all subsets counted by hand, and what is made of them."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest

from measuring.estimators import Floats, Interval
from training.evaluation.baselines import (
    GREEDY,
    ORACLE,
    RANDOM,
    REWARD_MODEL,
    Baselines,
    Pool,
    Single,
    baselines,
    chosen,
)

SIZES = [1, 2, 3, 5]


def pool(**more: object) -> Pool:
    draw = np.random.default_rng(3)
    gold, reward, logprob, certainty = draw.normal(size=(4, 6, 5))
    values: dict[str, object] = {
        "gold": gold,
        "tokens": draw.integers(1, 4, (6, 5)).astype(float),
        "reward": reward,
        "logprob": logprob,
        "self_certainty": certainty,
        "answers": [[*"aabbc"], [*"abcde"], [*"aaaaa"], ["a", None, None, "b", "b"], [None] * 5, [*"ccbba"]],
        "singles": {GREEDY: Single(gold[:, :1], np.full((6, 1), 2.0))},
    }
    return Pool(**{**values, **more})  # type: ignore[arg-type]


def by_hand(scores: Floats, gold: Floats, n: int) -> float:
    """The mean over all subsets of the gold of the highest score, ties shared."""
    values = []
    for subset in combinations(range(len(gold)), n):
        top = max(scores[list(subset)])
        values.append(np.mean([gold[i] for i in subset if scores[i] == top]))
    return float(np.mean(values))


@pytest.mark.parametrize(
    ("way", "scores"),
    [
        (REWARD_MODEL, lambda of: of.reward),
        ("likelihood, sum", lambda of: of.logprob),
        ("likelihood, mean", lambda of: of.logprob / of.tokens),
        ("self-certainty", lambda of: of.self_certainty),
        ("shortest", lambda of: -of.tokens),
        (RANDOM, lambda of: np.zeros_like(of.gold)),
        (ORACLE, lambda of: of.gold),
    ],
)
def test_a_way_is_the_mean_over_all_subsets(way: str, scores: object) -> None:
    given = pool()
    of = scores(given)  # type: ignore[operator]
    expected = [[by_hand(s, g, n) for n in SIZES] for s, g in zip(of, given.gold, strict=True)]
    assert chosen(given, SIZES)[way] == pytest.approx(np.array(expected))


def test_one_answer_is_the_same_whatever_n_is() -> None:
    given = pool()
    assert chosen(given, SIZES)[GREEDY] == pytest.approx(np.repeat(given.gold[:, :1], 4, axis=1))


def test_what_is_not_known_is_left_out() -> None:
    given = pool(reward=None, logprob=None, self_certainty=None, answers=None, singles={})
    assert list(chosen(given, SIZES)) == [RANDOM, "shortest", ORACLE]
    found = baselines(given, SIZES)
    assert (found.worth, found.worth_over_best, found.worth_at_equal_tokens, found.single) == ({}, {}, {}, {})
    assert "the best baseline that is free has" in found.sentence


def test_differences_are_paired_and_the_best_is_chosen_in_every_draw() -> None:
    given = pool()
    found, ways = baselines(given, SIZES), chosen(given, SIZES)
    judged = ways.pop(REWARD_MODEL)
    del ways[ORACLE]
    for name, of in ways.items():
        assert found.worth[name][3].value == pytest.approx((judged - of)[:, 2].mean())
    best = max(ways, key=lambda name: ways[name][:, 2].mean())
    assert found.best_free[3] == best
    assert found.worth_over_best[3].value == pytest.approx(found.worth[best][3].value)
    generator = np.random.default_rng(0)  # the house's bootstrap, by hand
    draws = []
    for _ in range(2000):
        rows = generator.integers(0, 6, 6)
        draws.append(judged[rows, 2].mean() - max(of[rows, 2].mean() for of in ways.values()))
    low, high = np.percentile(draws, [2.5, 97.5])
    assert (found.worth_over_best[3].low, found.worth_over_best[3].high) == pytest.approx((low, high))
    assert found.worth_over_best[3].low <= found.worth[best][3].low


def test_at_equal_tokens_the_free_ways_have_twice_the_samples() -> None:
    found = baselines(pool(), [1, 2, 5])
    assert list(found.worth_at_equal_tokens) == [1]
    expected = found.gold[REWARD_MODEL][1].value - found.best_free_gold[2].value
    assert found.worth_at_equal_tokens[1].value == pytest.approx(expected)


def judged_by(reward: Sequence[float], free: Sequence[float]) -> Baselines:
    """Two samples of each of 40 prompts, the first of which is right; the log-probability is another ranking."""
    gold = np.tile([1.0, 0.0], (40, 1))
    rows = (np.tile(scores, (40, 1)) for scores in (reward, free))
    proxy, logprob = rows
    return baselines(Pool(gold, np.ones_like(gold), reward=proxy, logprob=logprob), [1, 2])


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (judged_by([1, 0], [0, 0]), "At N = 2 the reward model is worth 0.500 [0.500, 0.500] gold over the best free"),
        (judged_by([0, 0], [1, 0]), "worse than the best free baseline (likelihood, sum), by 0.500 [0.500, 0.500]"),
        (judged_by([1, 0], [1, 0]), "not shown to be worth anything over the best free baseline (likelihood, sum)"),
    ],
)
def test_the_sentence_says_what_was_found(found: Baselines, words: str) -> None:
    assert words in found.sentence


def test_the_tables_hold_every_way() -> None:
    found = baselines(pool(), SIZES)
    sentence, ways, differences, about = found.markdown()
    assert sentence == found.sentence
    assert ways.count("\n") == 1 + 9
    assert "| one greedy answer | " in ways
    assert differences.count("\n") == 1 + 7 + 2
    assert "2.0 greedy" in about
    assert isinstance(found.gold["majority vote"][5], Interval)
