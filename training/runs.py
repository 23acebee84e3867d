"""What every training run shares: its folder, arguments, metrics on disk, adapters, resuming, saving.

Under several processes (`accelerate launch`, see training/accelerate) only the main one writes.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_utils import get_last_checkpoint

from training import metrics
from training.config import ConfigError
from training.configs import TrainingConfig

METRICS_FILE = metrics.METRICS_FILE
CONFIG_FILE = "training_config.json"
STATE_FOLDER = "state"
# Others wait this long for the main process, which may sample and measure alone.
_PATIENCE = timedelta(hours=6)


class TrainingDiverged(RuntimeError):
    """The loss is no longer a finite number."""


def is_main() -> bool:
    """Whether this process is the one that writes files; true where there is only one."""
    return bool(_process().is_main_process)


@contextmanager
def main_first() -> Iterator[None]:
    """The main process does the body first, so that the others find the files it wrote."""
    with _process().main_process_first():
        yield


def arguments(config: TrainingConfig, state_folder: Path) -> TrainingArguments:
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
        dataloader_pin_memory=torch.cuda.is_available(),
        ddp_timeout=int(_PATIENCE.total_seconds()),
        ddp_find_unused_parameters=False,
    )


def begin(config: TrainingConfig, output: Path) -> str | None:
    """Prepare the folder of a run and return the state to resume from, if one was interrupted there.

    Raises ConfigError when the interrupted run had other settings.
    """
    settings, folder = output / CONFIG_FILE, output / STATE_FOLDER
    if folder.is_dir() and json.loads(settings.read_text(encoding="utf-8")) != config.as_dict():
        raise ConfigError(
            f"{output} holds an interrupted run with other settings: finish it, remove {folder}, "
            "or choose another output"
        )
    process = _process()
    process.wait_for_everyone()
    if process.is_main_process:
        output.mkdir(parents=True, exist_ok=True)
        settings.write_text(json.dumps(config.as_dict(), indent=2) + "\n", encoding="utf-8")
        folder.mkdir(exist_ok=True)
    process.wait_for_everyone()
    state: str | None = get_last_checkpoint(str(folder))
    return state


def finish(output: Path) -> None:
    """Remove the states to resume from; the checkpoint stays. Every process calls it."""
    process = _process()
    process.wait_for_everyone()
    if process.is_main_process:
        shutil.rmtree(output / STATE_FOLDER, ignore_errors=True)


class MetricsFile(TrainerCallback):
    """Every logged set of metrics goes to `metrics.jsonl` and to TensorBoard, in the folder of `path`."""

    def __init__(self, path: Path) -> None:
        self._folder = path.parent
        self._metrics: metrics.Metrics | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.is_world_process_zero:
            self._metrics = metrics.Metrics(self._folder, after_step=state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        if self._metrics is not None:
            self._metrics.write(state.global_step, logs or {})

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self._metrics is not None:
            self._metrics.close()


def adapted(model: PreTrainedModel, config: TrainingConfig, *, fully_trained: Sequence[str] = ()) -> Any:
    """With `lora_rank`, the model with low-rank adapters on every linear layer (Hu et al. 2021); else the model itself.

    Only the adapters train, and the modules named in `fully_trained` (a reward head, fresh layers) with all their
    weights. The output embeddings stay as they are, since they may be tied. `save` merges all into a plain model.
    Raises ValueError where the model has no linear layer.
    """
    if not config.lora_rank:
        return model
    from peft import LoraConfig, get_peft_model

    output_embeddings = model.get_output_embeddings()
    kept = tuple(f"{name}." for name in fully_trained)
    targets = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
        and module is not output_embeddings
        and not f"{name}.".startswith(kept or ("\0",))
    ]
    if not targets:
        raise ValueError(f"lora_rank: {type(model).__name__} has no linear layer that adapters could sit on")
    torch.manual_seed(config.seed)
    lora = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,  # type: ignore[arg-type]  # any number will do
        target_modules=targets,
        modules_to_save=list(fully_trained) or None,
    )
    return get_peft_model(model, lora)


def save(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    config: TrainingConfig,
    output: Path,
    *,
    accelerator: Accelerator | None = None,
) -> None:
    """Save a plain transformers checkpoint; adapters are merged. Every process calls it, the main one writes.

    model: as trained (`trainer.model`). accelerator: gathers weights that are spread over processes.
    The weights are stored in `save_dtype`, while `dtype` in config.json is what they were trained in, so that
    transformers and vLLM compute with the stored values in that precision.
    """
    state = accelerator.get_state_dict(model) if accelerator else model.state_dict()
    model = accelerator.unwrap_model(model) if accelerator else model
    plain: PreTrainedModel = model
    if config.lora_rank:
        state = merged(state, config.lora_alpha / config.lora_rank)
        plain = model.get_base_model()
    if is_main():
        dtype = getattr(torch, config.save_dtype)
        tied = plain.all_tied_weights_keys
        stored = {
            name: tensor.to(dtype) if tensor.is_floating_point() else tensor
            for name, tensor in state.items()
            if name not in tied
        }
        plain.config.use_cache = True  # Trainer turned it off
        plain.save_pretrained(output, state_dict=stored)
        tokenizer.save_pretrained(output)


def merged(state: Mapping[str, torch.Tensor], scaling: float) -> dict[str, torch.Tensor]:
    """The weights of the plain model from those of one with adapters: W + scaling * B A (Hu et al. 2021, section 4.1).

    Works on a gathered state, so it does not matter how the model itself is spread over processes.
    """
    plain = {}
    for name, tensor in state.items():
        if ".lora_" in name or ".original_module." in name:
            continue
        stem = name.removesuffix("base_layer.weight")
        update = None
        if stem != name and f"{stem}lora_A.default.weight" in state:
            low, high = (state[f"{stem}lora_{side}.default.weight"] for side in "AB")  # [rank, in], [out, rank]
            update = scaling * high @ low
        key = name.removeprefix("base_model.model.").replace(".base_layer.", ".")
        plain[key.replace(".modules_to_save.default.", ".")] = tensor if update is None else tensor + update
    return plain


def _process() -> PartialState:
    return PartialState(timeout=_PATIENCE)
