"""Gao et al.'s curves on synthetic rewards whose coefficients are known."""

import numpy as np
import pytest

from measuring.estimators import Floats
from reward.expected_best import best_of_n
from training.evaluation.scaling import Kind, best_of_n_curve, extrapolate, fit, rl_curve

ALPHA, BETA = 0.7, 0.15


def gains(kind: Kind, distances: Floats, *, noise: float, prompts: int = 400) -> Floats:
    slope = BETA * distances if kind == "best_of_n" else BETA * np.log(np.maximum(distances, 1e-12))
    return distances * (ALPHA - slope) + np.random.default_rng(0).normal(scale=noise, size=(prompts, len(distances)))


@pytest.mark.parametrize("kind", ["best_of_n", "rl"])
def test_exact_points_give_the_coefficients_back(kind: Kind) -> None:
    distances = np.array([0.0, 0.5, 1.0, 2.0, 3.0])
    found = fit(kind, distances, gains(kind, distances, noise=0.0, prompts=3))
    assert (found.alpha.value, found.beta.value) == pytest.approx((ALPHA, BETA))
    assert (found.beta.low, found.beta.high) == pytest.approx((BETA, BETA))
    expected = 4 * (ALPHA - BETA * (4 if kind == "best_of_n" else np.log(4)))
    assert found.predict(4.0).value == pytest.approx(expected)
    assert found.values(np.array([0.0, 4.0])).tolist() == pytest.approx([0, expected])
    around = found.values(np.array([found.turn - 1e-3, found.turn, found.turn + 1e-3]))
    assert around.argmax() == 1


@pytest.mark.parametrize("kind", ["best_of_n", "rl"])
def test_the_interval_holds_the_truth_and_narrows_with_prompts(kind: Kind) -> None:
    distances = np.linspace(0.1, 3, 12)
    many, few = (fit(kind, distances, gains(kind, distances, noise=1.0, prompts=count)) for count in (4000, 100))
    assert many.alpha.low < ALPHA < many.alpha.high
    assert many.beta.low < BETA < many.beta.high
    assert many.alpha.high - many.alpha.low < (few.alpha.high - few.alpha.low) / 3
    assert many.predict(4.0).low < many.predict(4.0).value < many.predict(4.0).high


def test_one_point_is_no_curve() -> None:
    with pytest.raises(ValueError, match="two points with KL above 0"):
        fit("rl", np.array([0.0, 1.0]), np.zeros((3, 2)))


def test_the_best_of_n_curve_is_the_unbiased_estimate() -> None:
    generator = np.random.default_rng(0)
    proxy, gold = generator.normal(size=(5, 16)), generator.normal(size=(5, 16))
    curve = best_of_n_curve(proxy, gold)
    assert curve.labels == tuple(map(str, range(1, 17)))
    assert curve.gold[:, 0].tolist() == [0.0] * 5
    assert curve.gold[2, 6] == pytest.approx(best_of_n(proxy[2], gold[2], 7) - gold[2].mean())
    assert curve.proxy[2, 15] == pytest.approx(proxy[2].max() - proxy[2].mean())
    assert curve.distance[3] == pytest.approx(np.sqrt(np.log(4) - 3 / 4))
    assert best_of_n_curve(proxy, gold, [2, 8]).labels == ("2", "8")


def test_an_extrapolation_tells_an_honest_proxy_from_one_that_breaks() -> None:
    """A proxy that is gold plus noise is foretold; one whose highest scores are traps is not."""
    generator = np.random.default_rng(0)
    gold = generator.normal(size=(300, 64))
    noisy = gold + generator.normal(size=gold.shape)
    sizes = [1, 2, 4, 8, 16, 64]
    honest = extrapolate(best_of_n_curve(noisy, gold, sizes), range(5), 5)
    assert honest.label == "64"
    assert honest.predicted.value == pytest.approx(honest.measured.value, abs=0.15)
    trap = generator.random(gold.shape) < 0.01
    broken = extrapolate(best_of_n_curve(np.where(trap, 9.0, noisy), np.where(trap, -3.0, gold), sizes), range(3), 5)
    assert broken.measured.high < broken.predicted.low


def test_a_run_is_measured_from_its_start() -> None:
    start = (np.array([[0.0, 1.0], [1.0, 1.0]]), np.zeros((2, 2)))
    curve = rl_curve(start, {"100": (-0.01, start[0], start[1] + 2), "200": (4.0, start[0] + 1, start[1] + 3)})
    assert curve.labels == ("100", "200")
    assert curve.distance.tolist() == [0, 2]
    assert curve.gold.tolist() == [[0, 1], [0, 1]]
    assert curve.proxy.tolist() == [[2, 3], [2, 3]]
