"""Accuracy, calibration and length of a reward model on pairs small enough to count."""

import numpy as np
import pytest

from measuring.estimators import Floats
from training.data.records import Comparison, user
from training.evaluation.pairwise import by_quantile, by_sign, calibration, measure, pairs_of


def ranked(*ranks: int, margin: float = 0.0) -> Comparison:
    return Comparison(user("q"), tuple("abcdef"[: len(ranks)]), ranks=ranks, margin=margin)


def arrays(*rows: list[float]) -> list[Floats]:
    return [np.array(values, float) for values in rows]


def test_every_pair_that_is_not_tied_counts_once() -> None:
    comparisons = [ranked(0, 1, 1), ranked(1, 0), ranked(0, 1)]
    found = measure(comparisons, arrays([3, 1, 4], [2, 5], [1, 1]), arrays([5, 5, 5], [9, 3], [2, 4]))
    assert (found.pairs, found.prompts, found.equal_rewards) == (4, 3, 1)
    assert found.accuracy.value == 0.5  # 3 > 1, 3 < 4, 5 > 2, and the equal pair is wrong
    assert found.clustered.value == 0.5
    assert found.loss == pytest.approx(np.mean(np.log1p(np.exp([-2.0, 1.0, -3.0, 0.0]))))
    assert found.by_label_margin == ()


def test_the_interval_over_prompts_is_wider_where_pairs_repeat_each_other() -> None:
    generator = np.random.default_rng(0)
    comparisons = [ranked(0, 1, 1, 1, 1, 1)] * 60
    best = generator.choice([-1.0, 1.0], size=60)
    rewards = [np.array([value, 0, 0, 0, 0, 0]) for value in best]
    found = measure(comparisons, rewards, [np.ones(6)] * 60)
    assert found.clustered.high - found.clustered.low > 1.5 * (found.accuracy.high - found.accuracy.low)


def test_confidence_that_is_what_it_says_has_no_error() -> None:
    confidence = 0.75
    difference = np.full(400, np.log(confidence / (1 - confidence)))
    difference[:100] *= -1
    found = calibration(difference)
    assert found.error == pytest.approx(0, abs=1e-9)
    assert found.confidence == pytest.approx((confidence,))
    assert (found.bins[0].low, found.bins[0].high) == pytest.approx((0.75, 0.8))
    assert calibration(np.full(10, 50.0)).error == pytest.approx(0, abs=1e-6)
    assert calibration(np.full(10, -50.0)).error == pytest.approx(1, abs=1e-6)


def test_equal_rewards_are_half_right_in_calibration() -> None:
    found = calibration(np.array([0.0, 0.0, 0.0]))
    assert (found.error, found.bins[0].accuracy.value) == (0, 0.5)


def test_quantiles_keep_equal_values_together() -> None:
    bins = by_quantile(np.array([1.0, 1, 1, 2, 3, 4, 5, 6]), np.array([0.0, 0, 0, 1, 1, 1, 1, 1]))
    assert sum(part.pairs for part in bins) == 8
    assert (bins[0].low, bins[0].high, bins[0].accuracy.value) == (1, 2, 0.25)
    assert bins[-1].accuracy.value == 1
    (one,) = by_quantile(np.ones(5), np.ones(5))
    assert (one.pairs, one.accuracy.value) == (5, 1)
    assert by_quantile(np.ones(0), np.ones(0)) == ()


def test_differences_of_length_are_told_apart_by_their_sign() -> None:
    values = np.array([0.0] * 90 + [-5, -1, 2, 9])
    bins = by_sign(values, np.ones(94))
    assert [(part.low, part.high, part.pairs) for part in bins] == [
        (-5, -5, 1),
        (-1, -1, 1),
        (0, 0, 90),
        (2, 2, 1),
        (9, 9, 1),
    ]


def test_margins_come_from_the_record_or_its_scores() -> None:
    scored = Comparison(user("q"), ("a", "b"), ranks=(1, 0), scores={"helpful": (1.0, 4.0)})
    several = Comparison(user("q"), ("a", "b"), ranks=(0, 1), scores={"x": (1.0, 4.0), "y": (2.0, 2.0)})
    overall = Comparison(user("q"), ("a", "b"), ranks=(0, 1), scores={"x": (1.0, 4.0), "overall_score": (7.0, 2.0)})
    rows = [ranked(0, 1, margin=0.5), scored, several, overall, ranked(0, 1)]
    margins = pairs_of(rows, arrays(*[[0.0, 0.0]] * 5), arrays(*[[1.0, 1.0]] * 5)).margin
    assert margins[[0, 1, 3]].tolist() == [0.5, 3.0, 5.0]
    assert np.isnan(margins[[2, 4]]).all()


def test_a_reward_that_is_the_length_is_seen_through() -> None:
    """Labels know nothing of length; the reward knows nothing else, apart from a level of each prompt."""
    generator = np.random.default_rng(0)
    tokens = [generator.permutation(4).astype(float) for _ in range(200)]
    rewards = [length + generator.normal(scale=100) for length in tokens]
    found = measure([ranked(0, 1, 2, 3)] * 200, rewards, tokens)
    assert found.length.longer_is_better.value == pytest.approx(0.5, abs=0.06)
    assert found.length.longer_is_preferred.value == 1
    assert found.length.correlation.value == pytest.approx(1)
    shortest, *_, longest = found.by_length_difference
    assert (shortest.accuracy.value, longest.accuracy.value) == (0, 1)
    assert shortest.high < 0 < longest.low


def test_nothing_ranked_is_an_error() -> None:
    with pytest.raises(ValueError, match="no pair of a better and a worse response"):
        measure([Comparison(user("q"), ("a",))], arrays([1]), arrays([1]))
