"""transformers' Trainer as every trainer here uses it: batches of similar length, a stop on NaN, tokens per second."""

import math
import time
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainingArguments

from training.run.batches import SimilarLengths
from training.run.checks import TrainingDiverged
from training.run.run_folder import PATIENCE
from training.run.settings import SupervisedConfig

_NAMED = 8  # records that an error names


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
        ddp_timeout=int(PATIENCE.total_seconds()),
        ddp_find_unused_parameters=False,
    )


class RecordTrainer(Trainer):
    """A Trainer for datasets that tell the tokens of each record (`lengths()`).

    Raises TrainingDiverged before the optimizer steps where the loss or the norm of the gradient is not finite; on a
    GPU one step later, since the value is read without making the GPU wait, but never after a state was saved.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._order: SimilarLengths | None = None
        self._watched = _Watched()
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


class _Watched:
    """Numbers on a GPU are read when the next ones are there, so that nobody waits for them; others at once."""

    def __init__(self) -> None:
        self._copies: list[tuple[str, torch.Tensor, Any, int]] = []

    def watch(self, what: str, value: torch.Tensor, step: int) -> list[tuple[str, float, int]]:
        """What can be read now: (what, value, step)."""
        if value.device.type != "cuda":
            return [(what, value.item(), step)]
        ready = self.rest(before=step)
        copy = value.detach().to("cpu", non_blocking=True)
        copied = torch.cuda.Event()
        copied.record()
        self._copies.append((what, copy, copied, step))
        return ready

    def rest(self, before: float = math.inf) -> list[tuple[str, float, int]]:
        """What was watched in earlier steps and is not read yet."""
        ready = [copy for copy in self._copies if copy[3] < before]
        self._copies = [copy for copy in self._copies if copy[3] >= before]
        for _, _, copied, _ in ready:
            copied.synchronize()
        return [(what, copy.item(), step) for what, copy, _, step in ready]
