"""Losses against REFERENCE_VALUES and TRL; short runs on real small models: they learn, resume exactly, stay plain."""

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.training import parallel
from tests.training.run_files import metrics, same_weights
from training.data.read import DataError
from training.dpo import trainer as dpo
from training.dpo.data import DPOCollator
from training.dpo.trainer import DPOConfig
from training.labs import arithmetic
from training.labs.models import fresh_policy
from training.labs.tokenizer import byte_tokenizer
from training.policy.logprobs import Answered
from training.run import checks, run_folder, snapshots
from training.run.config import ConfigError
from training.run.supervised import training_arguments

POLICY_CHOSEN, POLICY_REJECTED = torch.tensor([-10.0, -5.0, -8.0]), torch.tensor([-12.0, -4.0, -8.0])
REFERENCE_CHOSEN, REFERENCE_REJECTED = torch.tensor([-11.0, -6.0, -7.0]), torch.tensor([-11.5, -6.0, -9.0])
CHOSEN, REJECTED = POLICY_CHOSEN - REFERENCE_CHOSEN, POLICY_REJECTED - REFERENCE_REJECTED

QUICK: dict[str, Any] = {
    "batch_size": 8,
    "max_steps": 6,
    "save_steps": 3,
    "log_steps": 1,
    "warmup_steps": 0,
    "learning_rate": 1e-3,
}


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved_policy(tmp_path_factory.mktemp("policy"), seed=0)


@pytest.fixture(scope="session")
def other_policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved_policy(tmp_path_factory.mktemp("other-policy"), seed=1)


def saved_policy(path: Path, *, seed: int) -> str:
    tokenizer = byte_tokenizer()
    fresh_policy(tokenizer, seed=seed).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


@pytest.fixture(scope="session")
def preferences(tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(tmp_path_factory.mktemp("preferences") / "data.jsonl", pairs(9))


def pairs(count: int) -> list[dict[str, Any]]:
    return [
        {
            "prompt": question.text,
            "responses": [arithmetic.solution(question), arithmetic.solution(question, mistake_at=0, mistake=1)],
            "ranks": [0, 1],
        }
        for question in arithmetic.questions(count, "train", seed=0)
    ]


def written(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(path)


def config(policy: str, preferences: str, **changes: Any) -> DPOConfig:
    return DPOConfig(**{"model": policy, "data": preferences, **QUICK, **changes})


def test_the_sigmoid_loss_has_its_reference_values() -> None:
    losses = dpo.sigmoid_loss(CHOSEN, REJECTED, beta=0.1)
    assert losses.tolist() == pytest.approx([0.620957, 0.744397, 0.798139], abs=1e-5)
    assert losses.mean().item() == pytest.approx(0.721164, abs=1e-5)


def test_label_smoothing_has_its_reference_value() -> None:
    smoothed = dpo.sigmoid_loss(CHOSEN, REJECTED, beta=0.1, label_smoothing=0.1)
    assert smoothed.mean().item() == pytest.approx(0.716164, abs=1e-5)


def test_ipo_has_its_reference_value() -> None:
    assert dpo.ipo_loss(CHOSEN, REJECTED, beta=0.1).mean().item() == pytest.approx(32.416667, abs=1e-5)


def test_metrics_are_implied_rewards() -> None:
    found = dpo.pair_metrics(
        torch.cat([POLICY_CHOSEN, POLICY_REJECTED]), torch.cat([REFERENCE_CHOSEN, REFERENCE_REJECTED]), beta=0.1
    )
    assert found["rewards/chosen"].tolist() == pytest.approx([0.1, 0.1, -0.1])
    assert found["rewards/rejected"].tolist() == pytest.approx([-0.05, 0.2, 0.1])
    assert found["rewards/accuracies"].tolist() == [1, 0, 0]
    assert found["rewards/margins"].tolist() == pytest.approx([0.15, -0.1, -0.2])
    assert found["logps/chosen"].tolist() == POLICY_CHOSEN.tolist()


@pytest.mark.parametrize("loss", ["sigmoid", "ipo"])
def test_loss_gradients_and_metrics_are_those_of_trl(loss: str, policy: str, other_policy: str, tmp_path: Path) -> None:
    trl = pytest.importorskip("trl")
    datasets = pytest.importorskip("datasets")
    ours, theirs = (AutoModelForCausalLM.from_pretrained(policy) for _ in range(2))
    reference = AutoModelForCausalLM.from_pretrained(other_policy)
    trainer = _trainer(config(policy, "unused.jsonl", loss=loss, beta=0.3), ours, copy.deepcopy(reference), tmp_path)
    oracle = trl.DPOTrainer(
        theirs,
        ref_model=reference,
        args=trl.DPOConfig(
            str(tmp_path), loss_type=[loss], beta=0.3, bf16=False, use_cpu=True, report_to="none", max_length=None,
            gradient_checkpointing=False,
        ),
        train_dataset=datasets.Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}]),
        processing_class=AutoTokenizer.from_pretrained(policy),
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        rows = [_random_row(generator) for _ in range(4)]
        batch = DPOCollator(pad_token_id=0)(rows)
        ours.zero_grad()
        theirs.zero_grad()
        mine = trainer.compute_loss(ours.train(), dict(batch))
        mine.backward()
        inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
        expected = oracle.compute_loss(theirs.train(), {**inputs, "completion_mask": batch["answer"].long()})
        expected.backward()
        assert mine.item() == pytest.approx(expected.item(), rel=1e-5)
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert one.grad is not None
            assert other.grad is not None
            assert torch.allclose(one.grad, other.grad, rtol=1e-3, atol=1e-5 * float(other.grad.abs().max()))
    logged: dict[str, float] = {"loss": 0.0}
    trainer.log(logged)
    for name in ("rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins", "logps/chosen"):
        values = oracle._metrics["train"][name]
        assert logged[name] == pytest.approx(sum(values) / len(values), rel=1e-4)


def _trainer(settings: DPOConfig, model: Any, reference: Any, folder: Path) -> dpo.DPOTrainer:
    arguments = training_arguments(settings, folder)
    return dpo.DPOTrainer(config=settings, reference=reference, model=model, args=arguments)


def _random_row(generator: torch.Generator) -> dict[str, Any]:
    """A pair of answers of random tokens and lengths to a random prompt."""

    def draw(low: int, high: int) -> list[int]:
        length = int(torch.randint(low, high, (), generator=generator))
        return torch.randint(5, 200, (length,), generator=generator).tolist()

    prompt = draw(3, 12)
    chosen, rejected = (Answered((*prompt, *draw(1, 20)), len(prompt)) for _ in range(2))
    return {"both": (chosen, rejected), "weight": 1.0}


@pytest.mark.parametrize("settings", [{}, {"precompute_reference": False}, {"lora_rank": 2}, {"label_smoothing": 0.2}])
def test_the_first_loss_is_ln_2(settings: dict[str, Any], tmp_path: Path, policy: str, preferences: str) -> None:
    dpo.train(config(policy, preferences, max_steps=2, **settings), tmp_path)
    losses = metrics(tmp_path, "loss")
    assert losses[0] == pytest.approx(math.log(2), abs=1e-6)
    assert losses[1] != pytest.approx(math.log(2), abs=1e-6)


@pytest.mark.parametrize("loss", ["sigmoid", "ipo"])
def test_the_policy_learns_and_the_checkpoint_is_plain(
    loss: str, tmp_path: Path, policy: str, preferences: str
) -> None:
    settings = config(policy, preferences, max_steps=12, loss=loss, save_dtype="float16")
    dpo.train(settings, tmp_path, command="bestofn train dpo")
    losses = metrics(tmp_path, "loss")
    assert losses[-1] < losses[0] * 0.9
    assert metrics(tmp_path, "rewards/margins")[-1] > 0.1 * metrics(tmp_path, "rewards/accuracies")[-1] > 0
    assert len(metrics(tmp_path, "eval_rewards/accuracies")) == 1
    assert AutoModelForCausalLM.from_pretrained(tmp_path).num_parameters() > 0
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "bestofn train dpo\n" in card
    assert "held-out pairs" in card
    assert not (tmp_path / run_folder.STATE_FOLDER).exists()


@pytest.mark.parametrize("settings", [{}, {"lora_rank": 4}, {"loss": "ipo"}, {"reference": "other"}])
def test_a_reference_computed_before_is_the_live_one(
    settings: dict[str, Any], tmp_path: Path, policy: str, other_policy: str, preferences: str
) -> None:
    """A live reference that followed the policy would keep the loss at ln 2."""
    settings = {**settings, **({"reference": other_policy} if "reference" in settings else {})}
    for precompute in (True, False):
        run = config(policy, preferences, precompute_reference=precompute, **settings)
        dpo.train(run, tmp_path / str(precompute))
    for name in ("loss", "rewards/margins", "eval_loss"):
        before, live = (metrics(tmp_path / str(precompute), name) for precompute in (True, False))
        assert before == pytest.approx(live, rel=1e-5, abs=1e-5)
    assert same_weights(tmp_path / "True", tmp_path / "False", atol=1e-4)


def test_another_reference_is_used(tmp_path: Path, policy: str, other_policy: str, preferences: str) -> None:
    dpo.train(config(policy, preferences, max_steps=1, reference=other_policy), tmp_path)
    assert abs(metrics(tmp_path, "loss")[0] - math.log(2)) > 1e-3


@pytest.mark.parametrize("loss", ["sigmoid", "ipo"])
def test_accumulation_is_one_large_batch(loss: str, tmp_path: Path, policy: str, preferences: str) -> None:
    once = {"max_steps": 1, "loss": loss}
    dpo.train(config(policy, preferences, **once), tmp_path / "batch")
    small = once | {"batch_size": 1, "gradient_accumulation_steps": 8}
    dpo.train(config(policy, preferences, **small), tmp_path / "accumulated")
    for name in ("loss", "grad_norm", "rewards/margins"):
        batch, accumulated = (metrics(tmp_path / folder, name) for folder in ("batch", "accumulated"))
        assert accumulated == pytest.approx(batch, rel=1e-4, abs=1e-6)


def interrupted_at(step: int, settings: DPOConfig, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def step_of(trainer: dpo.DPOTrainer, *inputs: Any) -> torch.Tensor:
        if trainer.state.global_step == step:
            raise KeyboardInterrupt
        return ordinary(trainer, *inputs)

    ordinary = dpo.DPOTrainer.training_step
    with monkeypatch.context() as patch:
        patch.setattr(dpo.DPOTrainer, "training_step", step_of)
        with pytest.raises(KeyboardInterrupt):
            dpo.train(settings, output)


@pytest.mark.parametrize("settings", [{}, {"precompute_reference": False, "lora_rank": 2}])
def test_two_processes_are_one(
    settings: dict[str, Any], tmp_path: Path, policy: str, preferences: str, in_two_processes: parallel.Train
) -> None:
    # With Adam's own epsilon the rounding of a gradient near zero moves a weight by as much as any other gradient.
    settings = {"max_steps": 3, "adam_epsilon": 1e-6, **settings}
    dpo.train(config(policy, preferences, **settings), tmp_path / "one")
    in_two_processes(dpo.train, config(policy, preferences, batch_size=4, **settings), tmp_path / "two")
    for name in ("loss", "grad_norm", "rewards/margins", "eval_loss", "eval_rewards/margins"):
        assert metrics(tmp_path / "two", name) == pytest.approx(metrics(tmp_path / "one", name), rel=1e-4, abs=1e-6)
    assert same_weights(tmp_path / "one", tmp_path / "two", atol=1e-4)


@pytest.mark.parametrize("precompute", [True, False])
def test_a_resumed_run_is_the_uninterrupted_one(
    precompute: bool, tmp_path: Path, policy: str, preferences: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(policy, preferences, precompute_reference=precompute, policy_checkpoints=2)
    dpo.train(settings, tmp_path / "whole")
    interrupted_at(4, settings, tmp_path / "resumed", monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(dpo.DPOTrainer, "precompute", lambda *_: pytest.fail("computed the reference again"))
        dpo.train(settings, tmp_path / "resumed")
    assert same_weights(tmp_path / "whole", tmp_path / "resumed")
    for step in (2, 4):
        whole, resumed = (snapshots.folder(tmp_path / name, step) for name in ("whole", "resumed"))
        assert same_weights(whole, resumed)


def test_policies_from_along_the_way_are_kept_and_change_nothing(tmp_path: Path, policy: str, preferences: str) -> None:
    settings = {"max_steps": 4, "save_dtype": "float16"}
    dpo.train(config(policy, preferences, **settings), tmp_path / "plain")
    dpo.train(config(policy, preferences, policy_checkpoints=1, **settings), tmp_path / "kept")
    assert same_weights(tmp_path / "plain", tmp_path / "kept", atol=0)
    kept = snapshots.folder(tmp_path / "kept", 2)
    assert not same_weights(kept, tmp_path / "kept", atol=1e-4)
    assert AutoModelForCausalLM.from_pretrained(kept).num_parameters() > 0
    assert AutoTokenizer.from_pretrained(kept).chat_template


def test_a_weight_multiplies_the_loss_of_its_record(tmp_path: Path, policy: str) -> None:
    heavy = written(tmp_path / "heavy.jsonl", [{**row, "weight": 3.0} for row in pairs(9)])
    dpo.train(config(policy, heavy, max_steps=1), tmp_path / "run")
    assert metrics(tmp_path / "run", "loss")[0] == pytest.approx(3 * math.log(2), abs=1e-5)


def test_a_diverged_run_names_its_step(tmp_path: Path, policy: str, preferences: str) -> None:
    with pytest.raises(checks.TrainingDiverged, match=r"at step [2-6]"):
        dpo.train(config(policy, preferences, learning_rate=1e30, max_gradient_norm=0.0), tmp_path)


def test_what_does_not_fit_is_an_error_before_any_work(
    tmp_path: Path, policy: str, preferences: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dpo.DPOTrainer, "__init__", lambda *_, **__: pytest.fail("work began"))
    with pytest.raises(ValueError, match="the limit max_tokens is 20"):
        dpo.train(config(policy, preferences, max_tokens=20), tmp_path / "long")
    with pytest.raises(ConfigError, match="policy_checkpoints: 6 do not fit"):
        dpo.train(config(policy, preferences, policy_checkpoints=6), tmp_path / "checkpoints")
    rated = [{"prompt": f"{n}?", "responses": ["a", "b"], "scores": {"good": [1, 2]}} for n in range(3)]
    with pytest.raises(DataError, match="DPO learns from ranked responses"):
        dpo.train(config(policy, written(tmp_path / "rated.jsonl", rated)), tmp_path / "rated")


def test_a_reference_with_another_template_is_refused_before_any_work(
    tmp_path: Path, policy: str, other_policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dpo, "load_preferences", lambda *_: pytest.fail("work began"))
    AutoModelForCausalLM.from_pretrained(other_policy).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(other_policy)
    tokenizer.chat_template += " "
    tokenizer.save_pretrained(tmp_path)
    for reference, message in ((str(tmp_path), "another tokenizer or chat template"), ("./nowhere", "nowhere")):
        with pytest.raises(ConfigError, match=f"^reference: .*{message}"):
            dpo.train(config(policy, "data.jsonl", reference=reference), tmp_path / "run")
