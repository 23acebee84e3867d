"""Short runs of the reward model's trainer on a real small model."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
)

from reward.batching import score_sequences
from reward.config import RewardConfig, combine
from reward.model import load
from reward.torch_scorer import TorchScorer
from tests.training import parallel
from tests.training.run_files import metrics, same_weights, weights
from training.data.read import DataError, to_row
from training.data.records import Comparison, user
from training.labs import arithmetic
from training.labs.tokenizer import byte_tokenizer
from training.reward import heads
from training.reward import trainer as reward_model
from training.reward.trainer import RewardModelConfig
from training.run import checks, run_folder
from training.run.config import ConfigError
from training.run.metrics import METRICS_FILE

QUICK: dict[str, Any] = {
    "batch_size": 8,
    "max_steps": 6,
    "save_steps": 3,
    "log_steps": 1,
    "warmup_steps": 0,
    "max_tokens": 256,
    "share_prompt": "never",
}


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    return small_policy(tmp_path_factory.mktemp("policy"), byte_tokenizer())


def small_policy(path: Path, tokenizer: PreTrainedTokenizerBase) -> str:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        initializer_range=0.2,
        max_position_embeddings=256,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


def comparisons(count: int = 9) -> list[Comparison]:
    """A right solution, one with a wrong step, one that is only a number; every third record lacks the last."""
    made = []
    for index, question in enumerate(arithmetic.questions(count, "train", seed=0)):
        right, wrong = arithmetic.solution(question), arithmetic.solution(question, mistake_at=0, mistake=1)
        record = Comparison(
            user(question.text),
            (wrong, right, "7"),
            ranks=(1, 0, 2),
            scores={"right": (0.2, 1.0, 0.0), "short": (0.0, math.nan, 1.0)},
            margin=0.1 * index,
            weight=1.0 + index % 2,
        )
        made.append(record.only([0, 1]) if index % 3 == 0 else record)
    return made


@pytest.fixture(scope="session")
def preferences(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("preferences") / "data.jsonl"
    path.write_text("".join(json.dumps(to_row(record)) + "\n" for record in comparisons()), encoding="utf-8")
    return str(path)


def raising(error: type[BaseException]) -> Any:
    def function(*args: Any, **kwargs: Any) -> None:
        raise error

    return function


def reward_config(policy: str, preferences: str, **changes: Any) -> RewardModelConfig:
    return RewardModelConfig(**{"model": policy, "data": preferences, **QUICK, **changes})


def interrupt_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = reward_model.RewardTrainer.training_step

    def training_step(self: reward_model.RewardTrainer, *args: Any) -> torch.Tensor:
        if self.state.global_step == step:
            raise KeyboardInterrupt
        return begin(self, *args)

    monkeypatch.setattr(reward_model.RewardTrainer, "training_step", training_step)


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "pairs", "extra_layers": 1, "every_position_weight": 1.0},
        {"loss": "best_of_k", "ensemble": 3},
        {"loss": "plackett_luce", "heads": ("helpful", "short")},
        {"loss": "regression", "heads": ("right", "short")},
        {"loss": "pairs", "lora_rank": 4, "extra_layers": 1, "share_prompt": "always"},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_every_loss_falls_and_the_checkpoint_is_plain(
    tmp_path: Path, policy: str, preferences: str, changes: dict[str, Any]
) -> None:
    config = reward_config(policy, preferences, max_steps=12, learning_rate=1e-2, **changes)
    reward_model.train(config, tmp_path, command="bestofn train reward")
    losses = metrics(tmp_path, "loss")
    assert losses[-1] < losses[0] - 0.02
    assert metrics(tmp_path, "eval_loss")
    assert (changes["loss"] == "regression") or 0 <= metrics(tmp_path, "eval_accuracy")[-1] <= 1
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    names = config.heads or tuple(f"member-{index}" for index in range(config.ensemble))
    assert RewardConfig.of(plain.config).heads == names
    assert plain.config.num_labels == max(1, len(names))
    assert plain.config.num_hidden_layers == 2 + config.extra_layers
    assert plain.config.pad_token_id == AutoTokenizer.from_pretrained(tmp_path).pad_token_id
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "bestofn train reward\n" in card
    assert "Loss on held-out records" in card
    assert "over the answers in its data, not a policy's own." in " ".join(card.split())
    assert not (tmp_path / run_folder.STATE_FOLDER).exists()


def test_a_resumed_run_is_the_uninterrupted_one(
    tmp_path: Path, policy: str, preferences: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = reward_config(policy, preferences, every_position_weight=1.0, ensemble=2, extra_layers=1)
    reward_model.train(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_at(4, patch)
        with pytest.raises(KeyboardInterrupt):
            reward_model.train(config, tmp_path / "resumed")
    reward_model.train(config, tmp_path / "resumed")
    assert same_weights(tmp_path / "whole", tmp_path / "resumed")


def test_a_mistake_in_the_data_leaves_a_finished_run_as_it_was(tmp_path: Path, policy: str, preferences: str) -> None:
    config = reward_config(policy, preferences, max_steps=1)
    reward_model.train(config, tmp_path)
    with pytest.raises(DataError, match=r"there is no file 'typo.jsonl'"):
        reward_model.train(replace(config, data="typo.jsonl"), tmp_path)
    assert json.loads((tmp_path / run_folder.CONFIG_FILE).read_text(encoding="utf-8")) == config.as_dict()
    reward_model.train(replace(config, seed=1), tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "data.jsonl", "model": "./nowhere"}, "^model: .*nowhere"),
        ({"lab": "arithmetic", "sampler": "transformers", "policy": "./nowhere"}, "^policy: .*nowhere"),
    ],
)
def test_a_model_that_does_not_exist_is_named_with_its_setting(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        reward_model.train(RewardModelConfig(**{"model": "arithmetic-sft", **QUICK, **changes}), tmp_path)
    assert not (tmp_path / run_folder.CONFIG_FILE).exists()


def test_samples_belong_to_the_settings_that_made_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = RewardModelConfig(
        **{"model": "arithmetic-sft", "lab": "arithmetic", "sampler": "transformers", **QUICK, "max_steps": 1},
        evaluation_prompts=0,
        prompts=20,
        samples_per_prompt=2,
        pairs_per_prompt=1,
    )
    with monkeypatch.context() as patch:
        patch.setattr(reward_model, "plan_heads", raising(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            reward_model.train(config, tmp_path)
    with pytest.raises(ConfigError, match="other settings"):
        reward_model.train(replace(config, prompts=30), tmp_path)
    monkeypatch.setattr("training.samples.preferences.sampler", raising(AssertionError))
    reward_model.train(config, tmp_path)


def test_the_fresh_head_is_scaled_on_the_device_that_trains(
    tmp_path: Path, policy: str, preferences: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = []

    def score_sequences(model: Any, *_: Any) -> None:
        devices.append(model.device)
        raise KeyboardInterrupt

    monkeypatch.setattr(heads, "score_sequences", score_sequences)
    monkeypatch.setattr(run_folder, "device", lambda: torch.device("meta"))
    with pytest.raises(KeyboardInterrupt):
        reward_model.train(reward_config(policy, preferences), tmp_path)
    assert devices == [torch.device("meta")]


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 1, "gradient_accumulation_steps": 8},
        {"batch_size": 3, "gradient_accumulation_steps": 3},  # of eight records: the last micro-batch is short
        {"share_prompt": "always"},
    ],
    ids=["single", "short-last", "shared-prompt"],
)
@pytest.mark.parametrize("every_position_weight", [0.0, 1.0])
def test_accumulation_and_shared_prompts_are_one_large_batch(
    tmp_path: Path, policy: str, preferences: str, changes: dict[str, Any], every_position_weight: float
) -> None:
    once = {"max_steps": 1, "every_position_weight": every_position_weight, "ensemble": 2}
    reward_model.train(reward_config(policy, preferences, **once), tmp_path / "batch")
    reward_model.train(reward_config(policy, preferences, **once | changes), tmp_path / "other")
    for name in ("loss", "grad_norm", "eval_loss", "eval_accuracy", "eval_margin"):
        assert metrics(tmp_path / "other", name) == pytest.approx(metrics(tmp_path / "batch", name), rel=1e-3), name


def test_two_processes_are_one(tmp_path: Path, policy: str, preferences: str, in_two_processes: parallel.Train) -> None:
    whole = reward_config(policy, preferences, every_position_weight=1.0, ensemble=2, max_steps=2)
    reward_model.train(whole, tmp_path / "one")
    in_two_processes(reward_model.train, replace(whole, batch_size=4), tmp_path / "two")
    for name in ("loss", "eval_accuracy", "eval_margin"):
        assert metrics(tmp_path / "two", name) == pytest.approx(metrics(tmp_path / "one", name), rel=1e-3), name
    assert same_weights(tmp_path / "one", tmp_path / "two", atol=1e-5)


async def test_the_reward_is_normalised_and_every_reader_gives_it(
    tmp_path: Path, policy: str, preferences: str
) -> None:
    config = reward_config(policy, preferences, heads=("a", "b"), learning_rate=3e-3)
    reward_model.train(config, tmp_path)
    model, template = load(tmp_path)
    saved = RewardConfig.of(model.config)
    answers = [(r.messages, text) for r in comparisons() for text in r.responses]
    sequences = [template.tokens(template.prompt(messages), text) for messages, text in answers]
    rewards = np.array([combine(raw, saved)[0] for raw in score_sequences(model, sequences)])
    assert rewards.mean() == pytest.approx(0, abs=1e-4)
    assert rewards.std() == pytest.approx(1, abs=1e-4)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    outputs = plain(torch.tensor([sequences[0]])).logits[0]
    expected = (outputs.mean().item() - plain.config.bestofn["mean"]) / plain.config.bestofn["std"]
    scorer = TorchScorer(tmp_path, device="cpu")
    scored = await scorer.score(scorer.template.prompt(answers[0][0]), answers[0][1])
    await scorer.close()
    assert rewards[0] == pytest.approx(expected, abs=1e-5)
    assert scored.reward == pytest.approx(expected, abs=1e-5)
    assert scored.rewards == pytest.approx(dict(zip("ab", outputs.tolist(), strict=True)), abs=1e-5)


def test_a_reward_model_is_trained_further_from_where_it_is(tmp_path: Path, policy: str, preferences: str) -> None:
    reward_model.train(reward_config(policy, preferences, extra_layers=1), tmp_path / "first")
    still = reward_config(str(tmp_path / "first"), preferences, learning_rate=0.0, max_steps=1)
    reward_model.train(still, tmp_path / "second")
    first, second = weights(tmp_path / "first"), weights(tmp_path / "second")
    assert all(torch.equal(first[name], second[name]) for name in first)
    deeper = reward_config(str(tmp_path / "first"), preferences, extra_layers=1)
    with pytest.raises(ConfigError, match=r"extra_layers: .* is a reward model already"):
        reward_model.train(deeper, tmp_path / "third")
    ensemble = reward_config(str(tmp_path / "first"), preferences, ensemble=2, max_steps=1)
    reward_model.train(ensemble, tmp_path / "fourth")
    assert weights(tmp_path / "fourth")["score.weight"].shape == (2, 32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_tokens": 40}, "the limit max_tokens is 40"),
        ({"loss": "regression", "heads": ("kind",)}, "heads: no score kind in the data; it has: right, short"),
        ({"heads": ("reward", "short")}, "heads: `reward` is the name of what all outputs give together"),
        ({"max_tokens": 4096}, "max_tokens: 4096 is more than"),
    ],
)
def test_what_does_not_fit_is_an_error_before_any_training(
    tmp_path: Path, policy: str, preferences: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        reward_model.train(reward_config(policy, preferences, **changes), tmp_path)
    assert not (tmp_path / METRICS_FILE).exists()


def test_data_without_what_the_loss_learns_from_is_an_error(tmp_path: Path, policy: str) -> None:
    data = tmp_path / "rated.jsonl"
    rated = [Comparison(user(str(i)), ("a",), scores={"score": (float(i),)}) for i in range(4)]
    data.write_text("".join(json.dumps(to_row(record)) + "\n" for record in rated), encoding="utf-8")
    with pytest.raises(DataError, match=r"none of [34] records holds what loss=pairs learns from"):
        reward_model.train(reward_config(policy, str(data)), tmp_path / "pairs")
    reward_model.train(reward_config(policy, str(data), loss="regression", max_steps=1), tmp_path / "regression")
    assert weights(tmp_path / "regression")["score.weight"].shape == (1, 32)


def test_padding_that_is_the_end_of_text_is_refused(tmp_path: Path, policy: str, preferences: str) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    path = small_policy(tmp_path / "policy", tokenizer)
    with pytest.raises(ValueError, match="pads with the end of text"):
        reward_model.train(reward_config(path, preferences), tmp_path / "reward")


def test_a_diverged_run_names_its_step(tmp_path: Path, policy: str, preferences: str) -> None:
    with pytest.raises(checks.TrainingDiverged, match=r"at step [2-6]"):
        reward_model.train(reward_config(policy, preferences, learning_rate=1e30), tmp_path)
