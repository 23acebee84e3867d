"""What a run leaves: low-rank adapters while it trains, and one plain transformers checkpoint at its end."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from training.run.run_folder import is_main


def adapted(
    model: PreTrainedModel, *, lora_rank: int, lora_alpha: float, seed: int, fully_trained: Sequence[str] = ()
) -> Any:
    """With `lora_rank`, the model with low-rank adapters on every linear layer (Hu et al. 2021); else the model itself.

    Only the adapters train, and the modules named in `fully_trained` (a reward head, fresh layers) with all their
    weights. The output embeddings stay as they are, since they may be tied. `save` merges all into a plain model.
    Raises ValueError where the model has no linear layer.
    """
    if not lora_rank:
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
    torch.manual_seed(seed)
    lora = LoraConfig(
        r=lora_rank,
        lora_alpha=lora_alpha,  # type: ignore[arg-type]  # any number will do
        target_modules=targets,
        modules_to_save=list(fully_trained) or None,
    )
    return get_peft_model(model, lora)


def save(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    output: Path,
    *,
    dtype: str,
    lora_scaling: float | None,
    accelerator: Accelerator | None = None,
) -> None:
    """Save a plain transformers checkpoint; adapters are merged. Every process calls it, the main one writes.

    model: as trained (`trainer.model`). lora_scaling: of its adapters; None: it has none. accelerator: gathers weights
    that are spread over processes. The weights are stored in `dtype`, while config.json has the one they were trained
    in, so that transformers and vLLM compute with the stored values in that precision.
    """
    state = accelerator.get_state_dict(model) if accelerator else model.state_dict()
    model = accelerator.unwrap_model(model) if accelerator else model
    plain: PreTrainedModel = model
    if lora_scaling is not None:
        state = merged(state, lora_scaling)
        plain = model.get_base_model()
    if is_main():
        stored_dtype = getattr(torch, dtype)
        tied = plain.all_tied_weights_keys
        stored = {
            name: tensor.to(stored_dtype) if tensor.is_floating_point() else tensor
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
