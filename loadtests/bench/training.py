"""`make bench-training`: the trainers' tokens a second beside TRL's, on the same model and data, in turn in one run.

Both sides start from the bundled policy, take the same number of records a step and compute in float32 without
checkpointing of activations; DPO computes its reference in every step. Each side orders, pads and shares as it does by
default. Tokens are those of the whole conversations that were learned from, a prompt counted once for each answer,
padding never; the first steps are left out. The order changes from round to round; the ratio is the median over rounds
with the range of the middle half. `sharing` measures our own layouts of a prompt's responses against each other
(`loadtests.bench.sharing`).
"""

import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from rich.console import Console
from rich.table import Table
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PrinterCallback,
    Trainer,
    TrainerCallback,
)
from transformers.trainer_utils import SaveStrategy

from loadtests.bench.ratio import Ratio
from loadtests.bench.sharing import Layout, padded_pairs, separate_rows, shared_prompts, throughput
from reward.template import ConversationTemplate
from training.data.records import Comparison, user
from training.dpo.data import DPOCollator, DPODataset
from training.dpo.trainer import DPOConfig, DPOTrainer
from training.labs import arithmetic, checkpoint, lab
from training.reward.data import Group, RewardCollator, RewardDataset
from training.reward.heads import plan_heads, reward_model
from training.reward.outputs import prompt_sharing
from training.reward.trainer import RewardModelConfig, RewardTrainer
from training.run import cards
from training.run.config import TrainingConfig
from training.run.supervised import SupervisedConfig, training_arguments
from training.sft.data import SFTCollator, SFTDataset
from training.sft.trainer import SFTConfig, SFTTrainer

_ROUNDS = 5
_STEPS, _WARM_UP = 24, 4
_BATCH = 16
_RECORDS = 800
_POLICY = "arithmetic-sft"

Pad = Callable[[Sequence[Any]], dict[str, Any]]
Throughput = Callable[[Path], float]  # trains in an empty folder and gives tokens a second


@dataclass(frozen=True)
class Duel:
    """One line of the report. goal: a lower bound on the median of ours over the other's."""

    what: str
    ours: Throughput
    other: Throughput
    goal: float = 1.0

    def row(self) -> tuple[str, ...]:
        rounds = [self._round(ours_first=number % 2 == 1) for number in range(_ROUNDS + 1)]
        del rounds[0]  # it pays for imports and caches
        speeds = (f"{statistics.median(side):,.0f}" for side in zip(*rounds, strict=True))
        what, *ratio = Ratio(self.what, [ours / other for ours, other in rounds], self.goal, at_most=False).row()
        return what, *speeds, *ratio

    def _round(self, *, ours_first: bool) -> tuple[float, float]:
        if ours_first:
            ours, other = _in_empty_folder(self.ours), _in_empty_folder(self.other)
        else:
            other, ours = _in_empty_folder(self.other), _in_empty_folder(self.ours)
        return ours, other


def _in_empty_folder(measure: Throughput) -> float:
    with tempfile.TemporaryDirectory() as folder:
        return measure(Path(folder))


class Meter(TrainerCallback):
    """Counts the tokens of the batches that `pad` makes, from the end of the warm-up to the end of training."""

    def __init__(self, pad: Pad) -> None:
        self._pad = pad
        self._tokens = 0
        self._marks: list[tuple[float, int]] = []

    def __call__(self, rows: Sequence[Any]) -> dict[str, Any]:
        batch = self._pad(rows)
        if isinstance(rows[0], Group):  # may share prompts, so that the batch holds fewer tokens
            self._tokens += sum(len(tokens) for group in rows for tokens in group.sequences)
        else:
            self._tokens += int(batch["attention_mask"].sum())
        return batch

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step in {_WARM_UP, _STEPS}:
            self._marks.append((time.perf_counter(), self._tokens))

    def tokens_per_second(self) -> float:
        (start_s, before), (end_s, after) = self._marks
        return (after - before) / (end_s - start_s)


def main() -> None:
    """Measure what is named on the command line, or everything, and print one table."""
    names = sys.argv[1:] or list(DUELS)
    unknown = [name for name in names if name not in DUELS]
    if unknown:
        sys.exit(f"there is no {unknown[0]!r} to measure; there are: {', '.join(DUELS)}")
    _quiet()
    columns = ("measured", "ours, tokens/s", "other, tokens/s", "ratio", "middle half", "goal", "met")
    table = Table(*columns, title=cards.machine())
    for duel in (duel for name in names for duel in DUELS[name]):
        table.add_row(*duel.row())
    Console(width=120).print(table)


def _quiet() -> None:
    """No bars and no notices between the lines of the table."""
    logging.disable(logging.WARNING)
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()


def our_sft(folder: Path) -> float:
    config = _settings(SFTConfig, demonstrations=_RECORDS)
    model, tokenizer = _policy()
    demonstrations = lab(config.lab).demonstrations(_RECORDS, seed=0)
    data = SFTDataset(list(demonstrations), ConversationTemplate(tokenizer), config.max_tokens)
    meter = Meter(SFTCollator(tokenizer.pad_token_id))
    return _run(SFTTrainer(model=model, **_ours(config, folder), train_dataset=data, data_collator=meter), meter)


def trl_sft(folder: Path) -> float:
    from trl.trainer.sft_config import SFTConfig as TRLConfig
    from trl.trainer.sft_trainer import SFTTrainer as TRLTrainer

    model, tokenizer = _policy()
    rows = [
        {"prompt": list(record.messages), "completion": [{"role": "assistant", "content": record.completion}]}
        for record in lab("arithmetic").demonstrations(_RECORDS, seed=0)
    ]
    trainer = TRLTrainer(
        model=model,
        args=TRLConfig(str(folder), **_theirs()),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    return _metered(trainer)


def our_reward(folder: Path) -> float:
    config = _settings(RewardModelConfig)
    _, tokenizer = _policy()
    records = _comparisons()
    model = reward_model(str(checkpoint(_POLICY)), plan_heads(records, loss=config.loss), extra_layers=0, seed=0)
    sharing = prompt_sharing(model, config.share_prompt, config.max_tokens)
    meter = Meter(RewardCollator(tokenizer.pad_token_id, every_position=False, sharing=sharing, always=False))
    data = RewardDataset(records, ConversationTemplate(tokenizer))
    ours = _ours(config, folder)
    trainer = RewardTrainer(model=model, config=config, **ours, train_dataset=data, data_collator=meter)
    return _run(trainer, meter)


def trl_reward(folder: Path) -> float:
    from trl.trainer.reward_config import RewardConfig as TRLConfig
    from trl.trainer.reward_trainer import RewardTrainer as TRLTrainer

    _, tokenizer = _policy()
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint(_POLICY), num_labels=1, dtype=torch.float32)
    trainer = TRLTrainer(
        model=model,
        args=TRLConfig(str(folder), **_theirs()),
        train_dataset=_trl_pairs(),
        processing_class=tokenizer,
    )
    return _metered(trainer)


def our_dpo(folder: Path) -> float:
    config = _settings(DPOConfig, precompute_reference=False)
    model, tokenizer = _policy()
    reference = _policy()[0].requires_grad_(False).eval()
    meter = Meter(DPOCollator(tokenizer.pad_token_id))
    data = DPODataset(_comparisons(), ConversationTemplate(tokenizer), config.max_tokens)
    ours = _ours(config, folder)
    trainer = DPOTrainer(
        model=model, config=config, reference=reference, **ours, train_dataset=data, data_collator=meter
    )
    return _run(trainer, meter)


def trl_dpo(folder: Path) -> float:
    from trl.trainer.dpo_config import DPOConfig as TRLConfig
    from trl.trainer.dpo_trainer import DPOTrainer as TRLTrainer

    model, tokenizer = _policy()
    trainer = TRLTrainer(
        model=model,
        ref_model=_policy()[0],
        args=TRLConfig(str(folder), **_theirs()),
        train_dataset=_trl_pairs(),
        processing_class=tokenizer,
    )
    return _metered(trainer)


def _of(layout: Layout) -> Throughput:
    return lambda _: throughput(layout)


DUELS: Mapping[str, Sequence[Duel]] = {
    "sft": [Duel("SFT over TRL", our_sft, trl_sft)],
    "reward": [Duel("reward model over TRL", our_reward, trl_reward)],
    "dpo": [Duel("DPO over TRL", our_dpo, trl_dpo)],
    "sharing": [
        Duel("shared prompts over separate rows", _of(shared_prompts), _of(separate_rows)),
        Duel("shared prompts over padded pairs", _of(shared_prompts), _of(padded_pairs), goal=1.5),
    ],
}


def _settings(kind: type[TrainingConfig], **changes: Any) -> Any:
    settings = {"lab": "arithmetic", "model": _POLICY, "max_steps": _STEPS, "batch_size": _BATCH, "max_tokens": 256}
    return kind(**{**settings, "learning_rate": 1e-4, "warmup_steps": 0, **changes})


def _comparisons() -> list[Comparison]:
    """A right answer and one with a wrong step to each prompt."""
    return [
        Comparison(
            user(q.text), (arithmetic.solution(q), arithmetic.solution(q, mistake_at=0, mistake=1)), ranks=(0, 1)
        )
        for q in arithmetic.questions(_RECORDS, "train", seed=0)
    ]


def _trl_pairs() -> Any:
    def turn(text: str) -> list[dict[str, str]]:
        return [{"role": "assistant", "content": text}]

    rows = [
        {"prompt": list(c.messages), "chosen": turn(c.responses[0]), "rejected": turn(c.responses[1])}
        for c in _comparisons()
    ]
    return datasets.Dataset.from_list(rows)


def _ours(config: SupervisedConfig, folder: Path) -> dict[str, Any]:
    arguments = training_arguments(config, folder)
    arguments.save_strategy, arguments.disable_tqdm = SaveStrategy.NO, True
    return {"args": arguments}


def _theirs() -> dict[str, Any]:
    """The same for TRL's trainers, whose defaults are bfloat16 and checkpointing of activations."""
    return {
        "max_steps": _STEPS,
        "per_device_train_batch_size": _BATCH,
        "learning_rate": 1e-4,
        "logging_steps": 25,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "max_length": 256,
        "bf16": False,
        "gradient_checkpointing": False,
        "use_cpu": not torch.accelerator.is_available(),
    }


def _metered(trainer: Any) -> float:
    """Train with one of TRL's trainers, whose collators are their own."""
    meter = Meter(trainer.data_collator)
    trainer.data_collator = meter
    return _run(trainer, meter)


def _run(trainer: Trainer, meter: Meter) -> float:
    trainer.add_callback(meter)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return meter.tokens_per_second()


def _policy() -> tuple[Any, Any]:
    path = checkpoint(_POLICY)
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32), AutoTokenizer.from_pretrained(path)


if __name__ == "__main__":
    main()
