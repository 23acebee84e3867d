"""The rewards of a batch of comparisons.

`PositionRewards` runs a model on what `RewardCollator` made and reads its score layer at the places that the batch
names. `prompt_sharing` decides whether a model may compute a prompt once for all its responses.
"""

import math
import random
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from training.reward.data import Batch, Group, RewardCollator
from training.reward.tree_attention import Cost, obstacle, tree_mask
from training.run.config import ConfigError

_SHARING_TOLERANCE = 1e-4  # of the largest reward; float32 leaves about 1e-6


class PositionRewards:
    """Runs a model on a batch and reads its score layer at `places`.

    The score layer sees every position before the model picks one by the pad id; a hook keeps what it gave.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._additive_mask = model.config.get_text_config()._attn_implementation == "eager"
        self._outputs = torch.empty(0)
        score: Any = model.score
        self._hook = score.register_forward_hook(self._keep)

    def __call__(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """[heads, groups, K, T] in float32; `model` is the one given at first, or what wraps it."""
        if "segments" in batch:
            mask = tree_mask(batch["segments"], additive=self._additive_mask)
            positions = batch["position_ids"]
            model(input_ids=batch["input_ids"], attention_mask=mask, position_ids=positions, use_cache=False)
        else:
            model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False)
        outputs, self._outputs = self._outputs, torch.empty(0)
        return outputs.float().flatten(0, 1)[batch["places"]].movedim(-1, 0)

    def close(self) -> None:
        """Take the hook off the model."""
        self._hook.remove()

    def _keep(self, _: torch.nn.Module, __: Any, output: torch.Tensor) -> None:
        self._outputs = output


def prompt_sharing(model: PreTrainedModel, choice: str, max_tokens: int) -> Cost | None:
    """What `RewardCollator` needs to share prompts; None: it may not.

    Raises ConfigError, which gives the reason, where it must.

    The configuration is read for what cannot work, then the model is tried on a few random tokens.
    """
    if choice == "never":
        return None
    reason = obstacle(model, max_tokens)
    if not reason and (error := sharing_error(model)) > _SHARING_TOLERANCE:
        reason = f"its rewards change by {error:.1e} of the largest when responses share a row"
    if reason and choice == "always":
        raise ConfigError(f"share_prompt: this model cannot: {reason}")
    return None if reason else Cost.of(model)


def sharing_error(model: PreTrainedModel) -> float:
    """How far the rewards with a shared prompt are from those of separate rows, as a share of the largest.

    Measured in evaluation mode on random tokens. Infinite where the model refuses such rows.
    """
    generator = random.Random(0)
    vocabulary: Any = model.get_input_embeddings().num_embeddings
    prompt, *tails = ([generator.randrange(vocabulary) for _ in range(length)] for length in (9, 7, 4, 6))
    sequences = tuple(np.array(prompt + tail, np.int32) for tail in tails)
    group = Group(sequences, len(prompt), (), np.empty((3, 0), np.float32), 0.0, np.ones(1, np.float32))
    separate = RewardCollator(0, every_position=True)([group])
    shared = RewardCollator(0, every_position=True, always=True)([group])
    read, training = PositionRewards(model), model.training
    model.eval()
    try:
        with torch.no_grad():
            first, second = (read(model, to_device(batch, model.device)) for batch in (separate, shared))
    except (ValueError, TypeError, RuntimeError, IndexError):
        return math.inf
    finally:
        read.close()
        model.train(training)
    return float((first - second).abs().max() / first.abs().max().clamp(min=1e-6))


def to_device(batch: Batch, device: torch.device) -> dict[str, torch.Tensor]:
    """The same batch there."""
    return {name: tensor.to(device) for name, tensor in batch.items()}
