"""Each study from end to end at its smallest, on the bundled policy of the lab `reviews`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reward.expected_best import best_of_each
from service.rerank.selection import Selection
from service.rerank.selection.picks import Soft
from service.rerank.strategies import Candidate
from training.experiments.studies import k_wise, online, over_optimisation, selection
from training.experiments.studies.study import Study
from training.run import run_folder
from training.run.config import ConfigError

LAB: dict[str, Any] = {
    "lab": "reviews",
    "policy": "reviews-sft",
    "prompts": 6,
    "samples": 4,
    "sampler": "transformers",
    "labels": 16,
}
TRAINER: dict[str, Any] = {"max_steps": 2, "batch_size": 8, "warmup_steps": 0, "log_steps": 1, "max_tokens": 128}
REWARD: dict[str, Any] = {**TRAINER, "held_out_share": 0.25}
PPO: dict[str, Any] = {
    **TRAINER,
    "prompts": 16,
    "rollouts": 8,
    "minibatches": 2,
    "ppo_epochs": 1,
    "response_tokens": 40,
}


def test_over_optimisation_follows_all_three_ways_from_one_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dpo = {**TRAINER, "max_steps": 3, "policy_checkpoints": 2}
    ppo = {**PPO, "max_steps": 3, "policy_checkpoints": 2, "learning_rate": 1e-3}
    settings = {**LAB, "label_noise": 0.25, "reward": REWARD, "dpo": dpo, "ppo": ppo, "best_of": 16, "fit_up_to": 8}
    config = over_optimisation.OverOptimisationConfig.of(settings)
    found = over_optimisation.run(config, tmp_path)
    assert set(found.curves) == {"best-of-n", "PPO", "DPO"}
    assert found.curves["best-of-n"].labels == ("1", "2", "4", "8", "16")
    assert found.curves["PPO"].labels == ("step-1", "step-2", "end")
    assert found.curves["best-of-n"].proxy.mean(axis=0)[-1] > 0  # the best by the proxy has more of the proxy
    assert found.extrapolation.label == "16"
    assert (tmp_path / "over_optimisation.png").stat().st_size > 10_000
    assert found.table() in (tmp_path / "README.md").read_text(encoding="utf-8")
    learned = [
        json.loads((tmp_path / name / run_folder.CONFIG_FILE).read_text(encoding="utf-8")) for name in ("proxy", "dpo")
    ]
    assert learned[0]["data"] == learned[1]["data"] == str(tmp_path / "labels" / "labels.jsonl")

    def again(*_: Any) -> None:
        raise AssertionError("done again")

    for trainer in ("reward", "ppo", "dpo"):
        monkeypatch.setattr(f"training.{trainer}.trainer.train", again)
    assert over_optimisation.run(config, tmp_path).table() == found.table()


def test_k_wise_gives_both_ways_the_same_labels_and_pairs(tmp_path: Path) -> None:
    config = k_wise.KWiseConfig.of({**LAB, "reward": {**REWARD, "batch_size": 4}, "seeds": 2})
    found = k_wise.run(config, tmp_path)
    assert len(found.whole) == len(found.pairs) == 2
    assert found.difference.low <= found.difference.value <= found.difference.high
    ways = [
        json.loads((tmp_path / "seed-0" / way / run_folder.CONFIG_FILE).read_text(encoding="utf-8"))
        for way in ("k-wise", "pairs")
    ]
    assert [way["batch_size"] for way in ways] == [4, 24]  # six pairs stand in a comparison of four
    assert "| 1 |" in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_online_collection_asks_the_policy_of_each_round(tmp_path: Path) -> None:
    reward = {**TRAINER, "loss": "best_of_k", "held_out_share": 0.25}
    ppo = {**PPO, "learning_rate": 1e-3, "policy_checkpoints": 1}
    settings = {**LAB, "prompts": 2, "label": "best", "rounds": 2, "reward": reward, "ppo": ppo}
    found = online.run(online.OnlineConfig.of(settings), tmp_path)
    assert {name: len(way.kl) for name, way in found.ways.items()} == {"online": 5, "once": 3}
    known = {
        name: (tmp_path / name / "labels.jsonl").read_text(encoding="utf-8").splitlines()
        for name in ("online/labels-1", "online/labels-2", "once/labels-1")
    }
    assert {name: len(lines) for name, lines in known.items()} == {
        "online/labels-1": 8,
        "online/labels-2": 16,
        "once/labels-1": 16,
    }
    assert known["online/labels-2"][:8] == known["online/labels-1"]
    second = json.loads((tmp_path / "online" / "ppo-2" / run_folder.CONFIG_FILE).read_text(encoding="utf-8"))
    assert second["model"] == str(tmp_path / "online" / "ppo-1")
    assert second["reference"] == "reviews-sft"
    once = json.loads((tmp_path / "once" / "ppo-1" / run_folder.CONFIG_FILE).read_text(encoding="utf-8"))
    assert once["max_steps"] == 4


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
    pool = selection.Pool(
        tuple(Candidate(at, "finished", finish_rank=at, reward=reward) for at, reward in enumerate(rewards)), true
    )
    gold, proxy = selection.curve_of(pool, Selection(), [1, 3, 12], draws=4000, std=1.0, seed=0)
    assert gold == pytest.approx(best_of_each(rewards, true, [1, 3, 12]), abs=0.06)
    assert proxy == pytest.approx(best_of_each(rewards, rewards, [1, 3, 12]), abs=0.06)
    soft, _ = selection.curve_of(pool, Selection(pick=Soft(temperature=2.0)), [12], draws=1, std=1.0, seed=0)
    powers = np.exp(rewards / 2)
    assert soft == pytest.approx([(powers * true).sum() / powers.sum()])


def test_what_is_kept_is_a_share_of_the_peaks_gain() -> None:
    curve = selection.Curve(gold=np.array([[0.0, 1.0, 0.5], [0.2, 1.0, 0.9]]), proxy=np.zeros((2, 3)))
    assert curve.peak == 1
    assert curve.kept == pytest.approx((0.7 - 0.1) / (1.0 - 0.1))
    assert np.isnan(selection.Curve(gold=np.array([[1.0, 0.5]]), proxy=np.zeros((1, 2))).kept)


def test_a_study_with_other_settings_is_not_mixed_with_one_that_is_there(tmp_path: Path) -> None:
    settings = {**LAB, "reward": {"batch_size": 4}}
    Study(k_wise.KWiseConfig.of(settings), tmp_path)
    with pytest.raises(ConfigError, match="holds a run with other settings"):
        Study(k_wise.KWiseConfig.of({**settings, "seeds": 5}), tmp_path)


def test_what_a_study_sets_itself_is_refused() -> None:
    with pytest.raises(ConfigError, match="the study itself sets seed and pairs_per_prompt"):
        k_wise.KWiseConfig.of({**LAB, "reward": {"seed": 3}})
    with pytest.raises(ConfigError, match=r"reward\.ensemble"):
        selection.SelectionConfig.of({**LAB, "reward": {}})
    with pytest.raises(ConfigError, match="fit_up_to: 64 must be below best_of, 32"):
        over_optimisation.OverOptimisationConfig.of({**LAB, "best_of": 32})
