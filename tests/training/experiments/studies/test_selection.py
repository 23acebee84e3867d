"""The study of selections."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reward.expected_best import best_of_each
from service.rerank.selection import Selection
from service.rerank.selection.picks import Soft
from service.rerank.strategies import Candidate
from tests.training.experiments.studies.small import LAB, TRAINER
from training.experiments.studies import selection


def test_selection_compares_every_method_on_one_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reward = {**TRAINER, "ensemble": 2, "held_out_share": 0.25}
    settings = {**LAB, "label_noise": 0.25, "reward": reward, "best_of": 8, "draws": 3, "seeds": 2}
    config = selection.SelectionConfig.of(settings)
    found = selection.run(config, tmp_path)
    assert found.sizes == (1, 2, 4, 8)
    assert [set(curves) for curves in found.curves] == [set(config.methods)] * 2
    for curves in found.curves:
        argmax = curves["argmax"]
        assert argmax.gold.shape == argmax.proxy.shape == (6, 4)
        assert (np.diff(argmax.proxy.mean(axis=0)) > 0).all()
        assert all((curve.gold[:, 0] == argmax.gold[:, 0]).all() for curve in curves.values())
        assert all((curve.proxy[:, -1] <= argmax.proxy[:, -1] + 1e-9).all() for curve in curves.values())
    assert (tmp_path / "selection.png").stat().st_size > 10_000
    assert found.table() in (tmp_path / "README.md").read_text(encoding="utf-8")

    def again(*_: Any) -> None:
        raise AssertionError("done again")

    monkeypatch.setattr("training.reward.trainer.train", again)
    monkeypatch.setattr("training.experiments.studies.selection.held_out_samples", again)
    assert selection.run(config, tmp_path).table() == found.table()


def test_a_selection_by_reward_is_the_unbiased_best_of_n() -> None:
    random = np.random.default_rng(0)
    rewards, true = random.normal(size=12), random.normal(size=12)
    pool = selection.SelectionPool(
        tuple(Candidate(at, "finished", finish_rank=at, reward=reward) for at, reward in enumerate(rewards)), true
    )
    gold, proxy = selection.curve_of(pool, Selection(), [1, 3, 12], draws=4000, std=1.0, seed=0)
    assert gold == pytest.approx(best_of_each(rewards, true, [1, 3, 12]), abs=0.06)
    assert proxy == pytest.approx(best_of_each(rewards, rewards, [1, 3, 12]), abs=0.06)
    soft, _ = selection.curve_of(pool, Selection(pick=Soft(temperature=2.0)), [12], draws=1, std=1.0, seed=0)
    powers = np.exp(rewards / 2)
    assert soft == pytest.approx([(powers * true).sum() / powers.sum()])


def test_what_is_kept_is_a_share_of_the_peaks_gain() -> None:
    curve = selection.SelectionCurve(gold=np.array([[0.0, 1.0, 0.5], [0.2, 1.0, 0.9]]), proxy=np.zeros((2, 3)))
    assert curve.peak == 1
    assert curve.kept == pytest.approx((0.7 - 0.1) / (1.0 - 0.1))
    assert np.isnan(selection.SelectionCurve(gold=np.array([[1.0, 0.5]]), proxy=np.zeros((1, 2))).kept)
