"""Short runs of SFT on a real small model: it learns, resumes exactly, and saves plain checkpoints."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.training import parallel
from tests.training.run_files import metrics, same_weights, weights
from training.labs.models import fresh_policy
from training.labs.tokenizer import byte_tokenizer
from training.run import checkpoints, checks, run_folder
from training.run.config import ConfigError
from training.sft import trainer as sft
from training.sft.trainer import SFTConfig

QUICK: dict[str, Any] = {
    "lab": "arithmetic",
    "demonstrations": 40,
    "batch_size": 8,
    "max_steps": 6,
    "save_steps": 3,
    "log_steps": 1,
    "warmup_steps": 0,
    "evaluation_prompts": 0,
}


def config(**changes: Any) -> SFTConfig:
    return SFTConfig(**{**QUICK, **changes})


def interrupted_at(step: int, settings: SFTConfig, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run until the loss of that step is known, and stop there."""

    def step_of(trainer: sft.SFTTrainer, model: Any, inputs: Any, items: Any = None) -> torch.Tensor:
        if trainer.state.global_step == step:
            raise KeyboardInterrupt
        return ordinary(trainer, model, inputs, items)

    ordinary = sft.SFTTrainer.training_step
    with monkeypatch.context() as patch:
        patch.setattr(sft.SFTTrainer, "training_step", step_of)
        with pytest.raises(KeyboardInterrupt):
            sft.train(settings, output)


def test_it_learns_and_saves_a_plain_checkpoint(tmp_path: Path) -> None:
    settings = config(save_dtype="float16", evaluation_prompts=3)
    sft.train(settings, tmp_path, command="bestofn train sft")
    losses = metrics(tmp_path, "loss")
    assert losses[-1] < losses[0] - 0.3
    assert {tensor.dtype for tensor in weights(tmp_path).values()} == {torch.float16}
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert model.dtype == torch.float32
    assert model.config.use_cache
    assert model.generation_config.eos_token_id == AutoTokenizer.from_pretrained(tmp_path).eos_token_id
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    for text in ("bestofn train sft\n", "pass@16", "tokens a second", f"torch {torch.__version__}", "of a CPU"):
        assert text in card
    assert json.loads((tmp_path / run_folder.CONFIG_FILE).read_text(encoding="utf-8")) == settings.as_dict()
    assert not (tmp_path / run_folder.STATE_FOLDER).exists()


@pytest.mark.parametrize("lora_rank", [0, 4])
def test_a_resumed_run_is_the_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lora_rank: int
) -> None:
    settings = config(lora_rank=lora_rank)
    sft.train(settings, tmp_path / "whole")
    interrupted_at(5, settings, tmp_path / "resumed", monkeypatch)
    with pytest.raises(ConfigError, match="other settings"):
        sft.train(config(seed=1), tmp_path / "resumed")
    sft.train(settings, tmp_path / "resumed")
    assert same_weights(tmp_path / "whole", tmp_path / "resumed", atol=1e-6)
    assert metrics(tmp_path / "resumed", "loss") == pytest.approx(metrics(tmp_path / "whole", "loss"), abs=1e-5)


def test_a_run_that_resumes_after_its_last_step_takes_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config(learning_rate_schedule="constant_with_warmup")  # six steps, of which the second epoch has one
    sft.train(settings, tmp_path / "whole")

    def killed(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            sft.train(settings, tmp_path / "resumed")
    sft.train(settings, tmp_path / "resumed")
    assert same_weights(tmp_path / "whole", tmp_path / "resumed", atol=0)


def test_adapters_train_alone_and_are_merged(tmp_path: Path) -> None:
    settings = config(lora_rank=4, max_steps=2, learning_rate=1e-2)
    sft.train(settings, tmp_path)
    before, after = fresh_policy(byte_tokenizer(), seed=0).state_dict(), weights(tmp_path)
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    projections = {name for name in after if name.endswith("_proj.weight")}
    assert changed == projections
    loaded: Any = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    model, report = loaded
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert type(model).__name__ == "LlamaForCausalLM"
    assert not list(tmp_path.glob("adapter*"))


@pytest.mark.parametrize("setting", ["bf16", "gradient_checkpointing"])
def test_cheaper_computation_learns_the_same(tmp_path: Path, setting: str) -> None:
    sft.train(config(max_steps=2), tmp_path / "plain")
    sft.train(config(max_steps=2, **{setting: True}), tmp_path / "cheap")
    tolerance = 0.05 if setting == "bf16" else 1e-5
    assert metrics(tmp_path / "cheap", "loss") == pytest.approx(metrics(tmp_path / "plain", "loss"), abs=tolerance)
    assert {tensor.dtype for tensor in weights(tmp_path / "cheap").values()} == {torch.float32}


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [("linear", [4, 3, 2, 1]), ("constant_with_warmup", [4, 4, 4, 4])],
    ids=str,
)
def test_the_schedule_is_the_chosen_one(tmp_path: Path, schedule: str, rates: list[float]) -> None:
    sft.train(config(max_steps=4, learning_rate=4e-4, learning_rate_schedule=schedule), tmp_path)
    assert metrics(tmp_path, "learning_rate") == pytest.approx([rate * 1e-4 for rate in rates])


def test_a_diverged_run_names_its_step_and_records(tmp_path: Path) -> None:
    with pytest.raises(checks.TrainingDiverged, match=r"at step [2-6], which learns from the records (\d+, ){7}\d+:"):
        sft.train(config(learning_rate=1e30), tmp_path)


def test_a_record_over_the_limit_is_an_error_before_any_work(tmp_path: Path) -> None:
    message = r"arithmetic.*40 of 40 records are too long, the limit max_tokens is 20.*record \d+ with \d+ tokens: '"
    with pytest.raises(ValueError, match=message):
        sft.train(config(max_tokens=20), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_model_that_does_not_exist_is_named_with_its_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^model: .*nowhere"):
        sft.train(config(model="./nowhere"), tmp_path)


def test_accumulation_is_one_large_batch(tmp_path: Path) -> None:
    sft.train(config(max_steps=1, demonstrations=8), tmp_path / "batch")
    small = config(max_steps=1, demonstrations=8, batch_size=1, gradient_accumulation_steps=8)
    sft.train(small, tmp_path / "accumulated")
    for name in ("loss", "grad_norm"):
        assert metrics(tmp_path / "accumulated", name) == pytest.approx(metrics(tmp_path / "batch", name), rel=1e-4)


@pytest.mark.parametrize("lora_rank", [0, 4])
def test_two_processes_are_one_with_larger_batches(
    tmp_path: Path, lora_rank: int, in_two_processes: parallel.Train
) -> None:
    # 16 records in batches of 8: three steps reach the second epoch, whose order is another one.
    together = config(max_steps=3, demonstrations=16, lora_rank=lora_rank)
    sft.train(together, tmp_path / "one")
    in_two_processes(
        sft.train, config(max_steps=3, demonstrations=16, batch_size=4, lora_rank=lora_rank), tmp_path / "two"
    )
    for name in ("loss", "grad_norm"):
        assert metrics(tmp_path / "two", name) == pytest.approx(metrics(tmp_path / "one", name), rel=1e-4)
    assert same_weights(tmp_path / "one", tmp_path / "two", atol=1e-4)
    assert "2 processes" in (tmp_path / "two" / "README.md").read_text(encoding="utf-8")
    assert not (tmp_path / "two" / run_folder.STATE_FOLDER).exists()
