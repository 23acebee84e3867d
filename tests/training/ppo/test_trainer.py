"""Short PPO runs on small models: the first step is what the papers say, runs resume exactly, settings are checked."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from transformers.modeling_layers import GradientCheckpointingLayer

from tests.training import parallel
from tests.training.given_answers import GivenAnswers, train_on_given_answers
from training.data.read import DataError
from training.labs.models import fresh_policy
from training.labs.tokenizer import byte_tokenizer
from training.ppo import trainer as ppo
from training.ppo.data import Rollout
from training.ppo.models import AnswerReward
from training.ppo.trainer import PPOConfig
from training.reward.heads import HeadLayout, reward_model
from training.run import run_folder, snapshots
from training.run.checks import TrainingDiverged
from training.run.config import ConfigError
from training.run.metrics import METRICS_FILE

QUICK: dict[str, Any] = {
    "lab": "arithmetic",
    "prompts": 12,
    "rollouts": 8,
    "batch_size": 4,
    "minibatches": 2,
    "ppo_epochs": 2,
    "response_tokens": 6,
    "max_steps": 4,
    "save_steps": 2,
    "log_steps": 1,
    "warmup_steps": 0,
    "learning_rate": 1e-3,
    "max_tokens": 64,
    "evaluation_prompts": 0,
    "sampler": "transformers",
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A fresh policy and a fresh reward model on its trunk, whose reward is neither centred nor scaled."""
    folder = tmp_path_factory.mktemp("models")
    tokenizer = byte_tokenizer()
    policy, reward = str(folder / "policy"), str(folder / "reward")
    fresh_policy(tokenizer, seed=0).save_pretrained(policy)
    tokenizer.save_pretrained(policy)
    model = reward_model(policy, HeadLayout(), extra_layers=0, seed=0)
    model.save_pretrained(reward)
    tokenizer.save_pretrained(reward)
    return {"model": policy, "reward_model": reward}


def config(models: dict[str, str], **changes: Any) -> PPOConfig:
    return PPOConfig(**{**QUICK, **models, **changes})


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / METRICS_FILE).read_text(encoding="utf-8").splitlines()]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_the_first_rollout_is_the_references_own(tmp_path: Path, models: dict[str, str]) -> None:
    trainer = ppo.PPOTrainer(config(models), tmp_path)
    prompts = trainer.query(0)
    answers = trainer.respond(prompts, 0)
    rollout = trainer.score(prompts, answers)
    assert rollout.kl.abs().max() < 1e-4
    assert rollout.mask.sum(1).tolist() == [len(a.tokens) - a.start for a in answers]
    truncated = torch.tensor(
        [len(a.tokens) - a.start == 6 and a.tokens[-1] not in trainer.models.ends for a in answers]
    )
    assert rollout.scores[truncated].tolist() == [-1.0] * int(truncated.sum())
    model = AutoModelForCausalLM.from_pretrained(models["model"])
    for row, answer in enumerate(answers):
        tokens = torch.tensor([answer.tokens])
        logits = torch.log_softmax(model(tokens).logits[0, :-1], -1)
        alone = logits.gather(1, tokens[0, 1:, None])[answer.start - 1 :, 0]
        assert torch.allclose(rollout.logprobs[row, answer.start : len(answer.tokens)], alone, atol=1e-4)


def test_values_are_the_normalised_reward_read_before_each_token(tmp_path: Path, models: dict[str, str]) -> None:
    trainer = ppo.PPOTrainer(config(models), tmp_path)
    prompts = trainer.query(0)
    answers = trainer.respond(prompts, 0)
    rollout = trainer.score(prompts, answers)
    value: Any = trainer.models.actor_critic.value
    answer = answers[0]
    prefix = torch.tensor([answer.tokens[: answer.start + 2]])  # what stands before the third token of the answer
    raw = value(input_ids=prefix, attention_mask=torch.ones_like(prefix)).logits.item()
    assert rollout.values[0, answer.start + 2].item() == pytest.approx(raw, abs=1e-4)


def test_rewards_that_do_not_differ_leave_only_the_kl(tmp_path: Path, models: dict[str, str]) -> None:
    trainer = ppo.PPOTrainer(config(models, kl_coefficient=0.5), tmp_path)
    prompts = trainer.query(0)
    rollout = trainer.score(prompts, trainer.respond(prompts, 0))
    rollout.scores = torch.full_like(rollout.scores, 3.0)
    rollout.values = torch.zeros_like(rollout.values)
    _, returns = trainer.advantages(rollout)
    first = rollout.mask.int().argmax(1)
    lam = trainer.config.gae_lambda
    for row, start in enumerate(first.tolist()):
        length = int(rollout.mask[row].sum())
        assert returns[row, start].item() == pytest.approx(3.0 * lam ** (length - 1), abs=1e-3)


def test_it_climbs_a_reward_that_is_easy_to_climb(
    tmp_path: Path, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reward is the share of the byte `a`; a handful of updates make it common."""
    monkeypatch.setattr(AnswerReward, "rewards", lambda self, prompts, texts: [t.count("a") / 6 for t in texts])
    easy = config(
        models,
        max_steps=12,
        rollouts=32,
        batch_size=32,
        minibatches=2,
        ppo_epochs=2,
        learning_rate=3e-3,
        kl_coefficient=0.0,
        missing_end_penalty=0.0,
        save_steps=100,
    )

    class Scored(ppo.PPOTrainer):
        def score(self, prompts: Any, answers: Any) -> Rollout:
            rollout = super().score(prompts, answers)
            rewards = self.models.reward_model.rewards(prompts, self.models.texts(answers))
            rollout.scores = torch.tensor(rewards)
            return rollout

    trainer = Scored(easy, tmp_path)
    trainer.run()
    scores = [row["objective/score"] for row in metrics(tmp_path)]
    assert sum(scores[-3:]) / 3 > sum(scores[:3]) / 3 + 0.1, scores
    assert metrics(tmp_path)[-1]["objective/kl"] > 0.1


def test_a_resumed_run_is_the_uninterrupted_one(
    tmp_path: Path, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    adaptive = config(models, kl_target=1.0, kl_horizon=50, lora_rank=0)
    ppo.train(adaptive, tmp_path / "whole")
    with monkeypatch.context() as patch:
        whole_step = ppo.PPOTrainer.step

        def step(self: ppo.PPOTrainer, update: int) -> dict[str, float]:
            if update == 3:
                raise KeyboardInterrupt
            return whole_step(self, update)

        patch.setattr(ppo.PPOTrainer, "step", step)
        with pytest.raises(KeyboardInterrupt):
            ppo.train(adaptive, tmp_path / "resumed")
    with pytest.raises(ConfigError, match="other settings"):
        ppo.train(config(models, seed=9), tmp_path / "resumed")
    ppo.train(adaptive, tmp_path / "resumed")
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "resumed")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    lines = [metrics(tmp_path / name) for name in ("whole", "resumed")]
    timeless = [[{k: v for k, v in row.items() if not k.startswith("time/")} for row in run] for run in lines]
    assert timeless[0] == timeless[1]
    assert [row["step"] for row in timeless[1]] == [1, 2, 3, 4]
    assert timeless[1][-1]["objective/kl_coefficient"] != adaptive.kl_coefficient
    assert not (tmp_path / "resumed" / run_folder.STATE_FOLDER).exists()


def test_parts_of_a_minibatch_add_up(tmp_path: Path, models: dict[str, str]) -> None:
    for name, size in (("whole", 8), ("parts", 3)):
        ppo.train(config(models, max_steps=1, batch_size=size, minibatches=1, ppo_epochs=1), tmp_path / name)
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.allclose(whole[name], parts[name], atol=2e-5) for name in whole)


def test_two_processes_are_one(
    tmp_path: Path, models: dict[str, str], in_two_processes: parallel.Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = config(models, minibatches=1, kl_target=1.0, kl_horizon=50, whiten_rewards=True, max_steps=3)
    with monkeypatch.context() as patch:
        patch.setattr("training.ppo.trainer.token_sampler", lambda *_: GivenAnswers())
        ppo.train(one, tmp_path / "one")
    in_two_processes(train_on_given_answers, one, tmp_path / "two")
    for name in ("objective/kl", "objective/score", "objective/kl_coefficient", "policy/loss", "value/loss"):
        found = [[row[name] for row in metrics(tmp_path / run)] for run in ("one", "two")]
        assert found[1] == pytest.approx(found[0], rel=1e-3, abs=1e-6)
    whole, shared = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert all(torch.allclose(whole[name], shared[name], atol=1e-4) for name in whole)


@pytest.mark.parametrize("killed_in", ["save_state", "replace", "rmtree"])
def test_a_run_killed_while_it_keeps_its_state_goes_on(
    killed_in: str, tmp_path: Path, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of writing it, between the two renames, and before the older one is gone."""
    save_state, replace, rmtree = Accelerator.save_state, Path.replace, shutil.rmtree

    def second(folder: str | Path) -> bool:
        return "ppo" in Path(folder).name and (Path(folder).parent / "ppo-old").exists()

    def half(self: Accelerator, folder: str) -> None:
        save_state(self, folder)
        if len(list(Path(folder).parent.glob("ppo*"))) == 2:  # the second one, beside the first
            (Path(folder) / "model.safetensors").write_bytes(b"")
            raise KeyboardInterrupt

    def replace_or_die(self: Path, target: Path) -> Path:
        if self.name == "ppo-new" and second(self):
            raise KeyboardInterrupt
        return replace(self, target)

    def rmtree_or_die(folder: str | Path, **options: Any) -> None:
        if second(folder):
            raise KeyboardInterrupt
        rmtree(folder, **options)

    with monkeypatch.context() as patch:
        where = {
            "save_state": (Accelerator, half),
            "replace": (Path, replace_or_die),
            "rmtree": (shutil, rmtree_or_die),
        }
        patch.setattr(where[killed_in][0], killed_in, where[killed_in][1])
        with pytest.raises(KeyboardInterrupt):
            ppo.train(config(models, save_steps=1), tmp_path)
    done = len(metrics(tmp_path))
    assert done == 2
    ppo.train(config(models, save_steps=1), tmp_path)
    assert [row["step"] for row in metrics(tmp_path)] == [1, 2, 3, 4]
    assert [row["objective/kl"] == 0 for row in metrics(tmp_path)] == [True, False, False, False]


def test_a_loss_that_is_not_finite_stops_and_names_its_update(tmp_path: Path, models: dict[str, str]) -> None:
    with pytest.raises(TrainingDiverged, match=r"the loss is (nan|inf) at update [1-4]"):
        ppo.train(config(models, learning_rate=1e30, max_gradient_norm=0), tmp_path)


def test_without_clipping_the_policy_moves(tmp_path: Path, models: dict[str, str]) -> None:
    ppo.train(config(models, max_gradient_norm=0, max_steps=1), tmp_path)
    before, after = load_file(Path(models["model"]) / "model.safetensors"), weights(tmp_path)
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_gradient_checkpointing_computes_again_and_learns_the_same(
    tmp_path: Path, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    again: list[int] = []
    call = GradientCheckpointingLayer.__call__

    def counted(self: GradientCheckpointingLayer, *args: Any, **kwargs: Any) -> Any:
        again.append(int(self.gradient_checkpointing and self.training))
        return call(self, *args, **kwargs)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(GradientCheckpointingLayer, "__call__", counted)
    for name, on in (("plain", False), ("cheap", True)):
        again.clear()
        ppo.train(config(models, max_steps=1, gradient_checkpointing=on), tmp_path / name)
        assert bool(sum(again)) == on
    plain, cheap = weights(tmp_path / "plain"), weights(tmp_path / "cheap")
    assert all(torch.allclose(plain[name], cheap[name], atol=1e-5) for name in plain)


def test_policies_of_an_older_run_are_removed(tmp_path: Path, models: dict[str, str]) -> None:
    ppo.train(config(models, policy_checkpoints=3), tmp_path)
    ppo.train(config(models, policy_checkpoints=1), tmp_path)
    assert list(snapshots.checkpoints(tmp_path)) == ["step-2", "end"]


def test_demonstrations_may_be_plain_text(tmp_path: Path, models: dict[str, str]) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text('{"text": "The weather is fine."}\n{"text": "It rains."}\n', encoding="utf-8")
    trainer = ppo.PPOTrainer(config(models, pretraining_data=str(texts), pretraining_weight=1.0), tmp_path / "run")
    assert [answer.start for answer in trainer.data.demonstrations] == [1, 1]
    assert trainer.data.demonstrations[0].tokens[-1] in trainer.models.ends


def test_lora_trains_adapters_against_the_policy_without_them(tmp_path: Path, models: dict[str, str]) -> None:
    saved = ppo.train(config(models, lora_rank=4, max_steps=2), tmp_path / "lora")
    first, second = metrics(tmp_path / "lora")
    assert first["objective/kl"] == pytest.approx(0, abs=1e-4)
    assert second["objective/kl"] != 0
    before, after = load_file(Path(models["model"]) / "model.safetensors"), weights(saved)
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all("_proj" in name for name in changed)


def test_demonstrations_hold_the_policy(tmp_path: Path, models: dict[str, str]) -> None:
    """PPO-ptx: with a large weight the demonstrations become likelier."""
    with_ptx = {"pretraining_data": "lab", "pretraining_weight": 100.0, "max_tokens": 128}

    def likelihood(folder: str) -> float:
        trainer = ppo.PPOTrainer(config({**models, "model": folder}, **with_ptx), tmp_path / "unused")
        batch = trainer.collator(trainer.data.demonstrations)
        with torch.no_grad():
            known = trainer.actor_critic(batch)
        return float(known["logprobs"][batch["answer"]].mean())

    saved = ppo.train(config(models, **with_ptx), tmp_path / "ptx")
    assert likelihood(str(saved)) > likelihood(models["model"]) + 0.1


def test_passes_end_early_where_the_policy_has_moved(tmp_path: Path, models: dict[str, str]) -> None:
    moving = {"max_steps": 1, "learning_rate": 1e-2, "minibatches": 2, "ppo_epochs": 4}
    ppo.train(config(models, **moving), tmp_path / "all")
    ppo.train(config(models, **moving, max_policy_kl=1e-6), tmp_path / "early")
    assert metrics(tmp_path / "all")[0]["policy/steps"] == 8
    assert metrics(tmp_path / "early")[0]["policy/steps"] == 2


def test_policies_from_along_the_way_are_kept(tmp_path: Path, models: dict[str, str]) -> None:
    ppo.train(config(models, policy_checkpoints=1, save_dtype="float16"), tmp_path)
    kept = tmp_path / "checkpoints" / "step-2"
    AutoModelForCausalLM.from_pretrained(kept)
    assert any(not torch.equal(weights(kept)[name], tensor) for name, tensor in weights(tmp_path).items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rollouts": 9}, "2 do not divide 9 rollouts"),
        ({"max_tokens": 20}, "leaves"),
        ({"pretraining_weight": 1.0}, "set both"),
        ({"reward_model": ""}, "reward_model: required"),
        ({"reward_model": "reviews-rewards"}, "reward_model: "),
        ({"reference": "reviews-sft"}, "reference: 'reviews-sft' has another tokenizer"),
        ({"policy_checkpoints": 9}, "policy_checkpoints: 9 do not fit"),
    ],
)
def test_settings_that_do_not_fit(
    tmp_path: Path, models: dict[str, str], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        ppo.PPOTrainer(config(models, **changes), tmp_path)
