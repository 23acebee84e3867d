"""What the trainers on given records (SFT, DPO, reward models) share: `supervised_run`, from a folder to a checkpoint.

A trainer's module holds what differs: it prepares model and data, and its `RecordTrainer` computes the loss.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainerCallback, TrainingArguments

from training.run import cards, checkpoints, run_folder, snapshots
from training.run.batches import SimilarLengths
from training.run.checks import TrainingDiverged
from training.run.config import TrainingConfig, setting
from training.run.elapsed import Elapsed
from training.run.metrics import MetricsFile
from training.run.watched import Watched

_NAMED = 8  # records that an error names


@dataclass(frozen=True, kw_only=True)
class SupervisedConfig(TrainingConfig):
    """What the trainers on given records need."""

    gradient_accumulation_steps: int = setting(1, "forward passes in one optimizer step", minimum=1)


Settings = TypeVar("Settings", bound=SupervisedConfig)


class Records(Protocol):
    """A dataset that knows the tokens of each of its records."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Any: ...
    def lengths(self) -> list[int]: ...


def _nothing(*_: Any) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What a trainer hands over once all is read and checked, and nothing is trained."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    trainer: "Callable[..., RecordTrainer]"
    """Makes it from what transformers' Trainer takes; the model has its adapters by then."""
    train_dataset: Records
    eval_dataset: Records | None = None
    """Held out: measured once, after training."""
    fully_trained: Sequence[str] = ()
    """Modules that train with all their weights beside LoRA's adapters."""
    at_start: Callable[[], None] = _nothing
    """Called before training, but not where an interrupted run goes on."""
    at_end: "Callable[[RecordTrainer], None]" = _nothing
    """Called after training, before the checkpoint is saved."""
    title: str
    """This and what follows is for the model card."""
    usage: str = cards.POLICY_USAGE
    source: str
    measured: Callable[[Mapping[str, float]], str]
    """Measures the saved checkpoint; it is given the metrics of `eval_dataset`."""


def supervised_run(
    config: Settings,
    output: Path,
    command: str,
    prepare: Callable[[Settings, Path], Prepared],
    *,
    policy_checkpoints: int | None = None,
) -> Path:
    """Train, save a plain transformers checkpoint with its model card into `output`, and return that folder.

    Goes on from what `prepare` finds and the last state of a run interrupted there. command: what the card names.
    policy_checkpoints: as many are kept from along the way; None: the trainer knows none. Raises what `prepare` raises,
    ConfigError where `output` holds something to resume with other settings, and TrainingDiverged.
    """
    elapsed = Elapsed(output)
    kept = None if policy_checkpoints is None else snapshots.steps(config.max_steps, policy_checkpoints)
    run_folder.check(config, output)
    prepared = prepare(config, output)
    state = run_folder.begin(config, output)
    if not state:
        prepared.at_start()

    def save(folder: Path) -> None:
        dtype, scaling = config.save_dtype, config.lora_scaling
        checkpoints.save(
            trainer.model,
            prepared.tokenizer,
            folder,
            dtype=dtype,
            lora_scaling=scaling,
            accelerator=trainer.accelerator,
        )

    along = [] if kept is None else [snapshots.Snapshots(output, kept, save)]
    trainer = _trainer(config, output, prepared, [MetricsFile(output), *along, elapsed])
    trainer.train(resume_from_checkpoint=state)
    metrics = {} if prepared.eval_dataset is None else trainer.evaluate()
    prepared.at_end(trainer)
    save(output)
    if run_folder.is_main():
        _write_card(config, output, command, prepared, metrics, trainer.tokens_per_second, elapsed.minutes)
    run_folder.finish(output)
    return output


def _trainer(
    config: SupervisedConfig, output: Path, prepared: Prepared, callbacks: list[TrainerCallback]
) -> "RecordTrainer":
    model = checkpoints.adapted(
        prepared.model,
        lora_rank=config.lora_rank,
        lora_alpha=config.lora_alpha,
        seed=config.seed,
        fully_trained=prepared.fully_trained,
    )
    return prepared.trainer(
        model=model,
        args=training_arguments(config, output / run_folder.STATE_FOLDER),
        train_dataset=prepared.train_dataset,
        eval_dataset=prepared.eval_dataset,
        callbacks=callbacks,
    )


def _write_card(
    config: SupervisedConfig,
    output: Path,
    command: str,
    prepared: Prepared,
    metrics: Mapping[str, float],
    tokens_per_second: float,
    minutes: float,
) -> None:
    cards.write(
        output,
        title=prepared.title,
        usage=prepared.usage,
        command=command,
        data=prepared.source,
        measured=prepared.measured(metrics),
        minutes=minutes,
        settings=config.as_dict(),
        tokens_per_second=tokens_per_second,
    )


def training_arguments(config: SupervisedConfig, state_folder: Path) -> TrainingArguments:
    """The run's settings in transformers' words. Metrics are written by `MetricsFile`."""
    return TrainingArguments(
        output_dir=str(state_folder),
        max_steps=config.max_steps,
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.learning_rate_schedule,
        warmup_steps=config.warmup_steps,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_gradient_norm,
        adam_beta2=config.adam_beta2,
        adam_epsilon=config.adam_epsilon,
        use_cpu=not torch.accelerator.is_available(),
        bf16=config.bf16,
        gradient_checkpointing=config.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        seed=config.seed,
        logging_steps=config.log_steps,
        logging_nan_inf_filter=False,
        save_steps=config.save_steps,
        save_total_limit=1,
        report_to="none",
        remove_unused_columns=False,
        label_names=[],
        dataloader_pin_memory=torch.cuda.is_available(),
        ddp_timeout=int(run_folder.PATIENCE.total_seconds()),
        ddp_find_unused_parameters=False,
    )


class RecordTrainer(Trainer):
    """transformers' Trainer on `Records`: batches of similar length, a stop on NaN, tokens per second.

    Raises TrainingDiverged before the optimizer steps where the loss or the norm of the gradient is not finite; on a
    GPU one step later, since the value is read without making the GPU wait, but never after a state was saved.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._order: SimilarLengths | None = None
        self._watched = Watched()
        self._tokens: torch.Tensor | int = 0
        self._all_tokens = 0.0
        self._logged_s = time.monotonic()
        self.tokens_per_second = 0.0

    def tokens_in(self, inputs: dict[str, Any]) -> torch.Tensor | int:
        """The tokens of a batch that are not padding."""
        mask: torch.Tensor | None = inputs.get("attention_mask")
        return int(inputs["input_ids"].numel()) if mask is None else mask.sum()

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """As transformers' own; afterwards `tokens_per_second` is that of the whole run, over all processes."""
        started = time.monotonic()
        self._logged_s = started
        result = super().train(*args, **kwargs)
        self._read(self._watched.rest())
        self._count()
        self.tokens_per_second = self._all_tokens / (time.monotonic() - started)
        return result

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """transformers would take one more step where a run resumes after its last one."""
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(*args, **kwargs)  # type: ignore[no-untyped-call]
        else:
            self.control.should_training_stop = True

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        self._tokens = self._tokens + self.tokens_in(inputs)
        loss = super().training_step(model, inputs, num_items_in_batch)
        self._read(self._watched.watch("loss", loss, self.state.global_step))
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm)  # type: ignore[no-untyped-call]
        if norm is not None:
            self._read(self._watched.watch("norm of the gradient", torch.as_tensor(norm), self.state.global_step))
        return norm

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        self._read(self._watched.rest())
        super()._save_checkpoint(*args, **kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            elapsed_s = time.monotonic() - self._logged_s
            logs["tokens_per_second"] = round(self._count() / elapsed_s, 1)
            self._logged_s += elapsed_s
        super().log(logs, start_time)

    def _get_train_sampler(self, train_dataset: Any = None) -> SimilarLengths:
        dataset: Any = self.train_dataset
        together = self.args.train_batch_size * self.args.world_size
        self._order = SimilarLengths(dataset.lengths(), together, self.args.seed)
        return self._order

    def _count(self) -> float:
        """Tokens over all processes since it was last called."""
        here = torch.as_tensor(self._tokens, dtype=torch.float64, device=self.args.device)
        tokens = float(self.accelerator.gather(here.reshape(1)).sum())
        self._tokens = 0
        self._all_tokens += tokens
        return tokens

    def _read(self, values: "list[tuple[str, float, int]]") -> None:
        for what, value, step in values:
            if not math.isfinite(value):
                raise TrainingDiverged(
                    f"the {what} is {value} at step {step + 1}{self._records(step)}: lower the learning rate or look "
                    "at the data"
                )

    def _records(self, step: int) -> str:
        if self._order is None:
            return ""
        records = self._order.step_records(step, self.args.gradient_accumulation_steps)
        more = f" and {len(records) - _NAMED} more" if len(records) > _NAMED else ""
        return f", which learns from the records {', '.join(map(str, records[:_NAMED]))}{more}"
