"""What all trainers share: checks before any work, adapters, metrics on disk, launch files."""

import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate.commands.config.config_args import ClusterConfig
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]
from transformers import LlamaForSequenceClassification, PreTrainedTokenizerFast

import training
from training.labs.models import fresh_policy
from training.labs.tokenizer import byte_tokenizer
from training.run import checkpoints, checks, run_folder
from training.run.batches import SimilarLengths
from training.run.config import ConfigError
from training.run.elapsed import Elapsed
from training.run.metrics import METRICS_FILE, Metrics
from training.run.settings import SFTConfig

LAUNCH_FILES = sorted((Path(str(training.__file__)).parent / "accelerate").glob("*.yaml"))


def tokenizer_with(**changes: Any) -> PreTrainedTokenizerFast:
    tokenizer = byte_tokenizer()
    for name, value in changes.items():
        setattr(tokenizer, name, value)
    return tokenizer


def test_a_model_and_its_tokenizer_fit() -> None:
    tokenizer = byte_tokenizer()
    checks.check_model(fresh_policy(tokenizer, seed=0), tokenizer, 2048, distinct_pad=True)


@pytest.mark.parametrize(
    ("changes", "max_tokens", "message"),
    [
        ({"pad_token": None}, 100, r"no pad token: name a token .*add_special_tokens.*resize_token_embeddings"),
        ({"chat_template": None}, 100, "no chat template"),
        ({}, 2049, "max_tokens: 2049 is more than the 2048 positions"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, Any], max_tokens: int, message: str) -> None:
    model = fresh_policy(byte_tokenizer(), seed=0)
    with pytest.raises(ValueError, match=message):
        checks.check_model(model, tokenizer_with(**changes), max_tokens)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused() -> None:
    tokenizer = byte_tokenizer()
    model = fresh_policy(tokenizer, seed=0)
    tokenizer.add_tokens(["new"])
    with pytest.raises(ValueError, match="has 263 tokens and the model embeds 262"):
        checks.check_model(model, tokenizer, 100)


def test_padding_with_the_end_of_text_is_refused_for_rewards_only() -> None:
    tokenizer = tokenizer_with(pad_token="<|end|>")
    checks.check_padding(tokenizer, distinct=False)
    with pytest.raises(ValueError, match=r"pads with the end of text, '<\|end\|>'"):
        checks.check_padding(tokenizer, distinct=True)


def test_records_over_the_limit_are_counted_and_the_longest_is_shown() -> None:
    checks.check_lengths([3, 4], 4, "data.jsonl", str)
    with pytest.raises(ValueError, match=r"data.jsonl: 2 of 3 .* max_tokens is 4; .* record 2 with 9 tokens: 'text 2'"):
        checks.check_lengths([5, 4, 9], 4, "data.jsonl", lambda index: f"text {index}")


def reward_model() -> LlamaForSequenceClassification:
    torch.manual_seed(0)
    config = copy.deepcopy(fresh_policy(byte_tokenizer(), seed=0).config)
    config.num_labels = 1
    return LlamaForSequenceClassification(config)


def test_heads_and_fresh_layers_train_with_all_their_weights(tmp_path: Path) -> None:
    config = SFTConfig(lab="arithmetic", lora_rank=2)
    model = checkpoints.adapted(reward_model(), config, fully_trained=["score", "model.layers.3"])
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    adapters = {name for name in trained if ".lora_" in name}
    whole = {name.replace(".modules_to_save.default", "") for name in trained - adapters}
    assert len(adapters) == 3 * 7 * 2  # layers, projections, A and B
    names = [name for name, _ in reward_model().named_parameters()]
    assert whole == {f"base_model.model.{name}" for name in names if ".3." in name or "score" in name}
    for name, weight in model.named_parameters():
        if name in trained:
            torch.nn.init.normal_(weight, std=0.02)
    tokens = torch.randint(0, 256, (2, 9))
    checkpoints.save(model, byte_tokenizer(), config, tmp_path)
    loaded: Any = LlamaForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    plain, report = loaded
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert torch.allclose(plain(tokens).logits, model(tokens).logits, atol=1e-5)


def test_without_a_rank_the_model_stays_as_it_is() -> None:
    model = reward_model()
    assert checkpoints.adapted(model, SFTConfig(lab="arithmetic")) is model


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / METRICS_FILE).read_text(encoding="utf-8").splitlines()]


def test_metrics_go_on_from_the_step_of_the_state(tmp_path: Path) -> None:
    first = Metrics(tmp_path)
    for step in (1, 2, 3):
        first.write(step, {"loss": float(step), "eval_accuracy": 0.5, "note": "text"})
    first.close()
    second = Metrics(tmp_path, after_step=2)
    second.write(3, {"loss": 30.0})
    second.close()
    assert [(row["step"], row["loss"]) for row in rows(tmp_path)] == [(1, 1.0), (2, 2.0), (3, 30.0)]
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(1, 1.0), (2, 2.0), (3, 30.0)]
    assert "eval/accuracy" in events.Tags()["scalars"]


def test_a_fresh_run_drops_an_older_ones_metrics(tmp_path: Path) -> None:
    for _ in range(2):
        metrics = Metrics(tmp_path)
        metrics.write(1, {"loss": 1.0})
        metrics.close()
    assert len(rows(tmp_path)) == 1
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1


def test_the_records_of_a_step_are_those_that_the_sampler_gave() -> None:
    order = SimilarLengths([5 * index for index in range(11)], batch_size=2, seed=3)
    given: list[list[int]] = []
    for epoch in range(2):
        order.set_epoch(epoch)
        indices = list(order)
        assert sorted(indices) == list(range(11))
        given += [indices[start : start + 6] for start in range(0, 11, 6)]
    assert [order.step_records(step, accumulation_steps=3) for step in range(4)] == given


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.stem)
def test_accelerate_reads_the_launch_files(path: Path) -> None:
    config = ClusterConfig.from_yaml_file(str(path))
    assert str(config.distributed_type).removeprefix("DistributedType.") in {"MULTI_GPU", "FSDP", "DEEPSPEED"}
    assert f"accelerate launch --config_file training/accelerate/{path.name}" in path.read_text(encoding="utf-8")


def test_settings_change_freely_while_there_is_nothing_to_resume(tmp_path: Path) -> None:
    first, second = SFTConfig(lab="arithmetic"), SFTConfig(lab="reviews")
    assert run_folder.begin(first, tmp_path) is None
    assert run_folder.begin(second, tmp_path) is None
    assert json.loads((tmp_path / run_folder.CONFIG_FILE).read_text(encoding="utf-8")) == second.as_dict()
    (tmp_path / run_folder.STATE_FOLDER / "samples.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"interrupted run with other settings.*remove .*state"):
        run_folder.begin(first, tmp_path)


def test_a_state_that_was_never_finished_is_removed(tmp_path: Path) -> None:
    config = SFTConfig(lab="arithmetic")
    run_folder.begin(config, tmp_path)
    whole, torn = (tmp_path / run_folder.STATE_FOLDER / f"checkpoint-{step}" for step in (5, 10))
    for state in (whole, torn):
        state.mkdir()
        (state / "model.safetensors").touch()
    (whole / "trainer_state.json").write_text("{}", encoding="utf-8")
    assert run_folder.begin(config, tmp_path) == str(whole)
    assert not torn.exists()


def test_time_before_an_interruption_counts(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    state = SimpleNamespace(is_world_process_zero=True)
    first = Elapsed(tmp_path)
    first.on_save(None, state, None)
    path = tmp_path / "state" / "elapsed.json"
    saved_s = json.loads(path.read_text(encoding="utf-8"))["seconds"]
    assert 0 <= saved_s <= 60 * first.minutes
    path.write_text('{"seconds": 600.0}', encoding="utf-8")
    assert Elapsed(tmp_path).minutes >= 10
