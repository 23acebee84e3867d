"""The rewards of a batch of comparisons, and their loss.

`PositionRewards` runs a model on what `comparison_batches.Collator` made and reads its score layer at the
places that the batch names; `objective` turns those rewards into one loss for each record. `prompt_sharing` decides
whether a model may compute a prompt once for all its responses.
"""

import math
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from training.reward.comparison_batches import Collator, Group
from training.reward.losses import best_of_k, better_pairs, masked_mean, pair_losses, plackett_luce
from training.reward.tree_attention import Cost, obstacle, tree_mask
from training.run.config import ConfigError

_SHARING_TOLERANCE = 1e-4  # of the largest reward; float32 leaves about 1e-6
Batch = Mapping[str, torch.Tensor]


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


def objective(loss: str, rewards: torch.Tensor, batch: Batch, every_position_weight: float) -> torch.Tensor:
    """The loss of each record, [members, groups].

    rewards: [outputs, groups, K, T]. An output is a member of an ensemble, or for `regression` without an ensemble a
    dimension of the scores: then there is one member. At the ends of the responses, and with `every_position_weight` w
    also at prefixes: (at the ends + w * at prefixes) / (1 + w), prefixes being

    - pairs: each pair at every position from its first difference to the end of the longer response;
    - best_of_k, plackett_luce: all responses at every position from the first at which any two differ to the end of
      the longest; a response that has ended takes part with the reward at its end;
    - regression: each response at each of its own positions after what all share, with the score of the whole.

    The mean over the positions of a pair (or record, or response) comes first, so that long answers weigh no more than
    short ones. With it a prefix can be scored, as the per-token verifiers of Cobbe et al. 2021 (section 4.2) can.
    """
    compute = {"pairs": _pairs, "best_of_k": _best_of_k, "plackett_luce": _plackett_luce, "regression": _regression}
    ends = torch.ones_like(rewards[0, :, :, -1:], dtype=torch.bool)
    apart = torch.zeros_like(better_pairs(batch["ranks"]), dtype=torch.long)
    at_ends = compute[loss](rewards[..., -1:], batch, ends, apart)
    if not every_position_weight:
        return at_ends
    at_prefixes = compute[loss](rewards, batch, batch["inside"], batch["apart"])
    return (at_ends + every_position_weight * at_prefixes) / (1 + every_position_weight)


def _pairs(rewards: torch.Tensor, batch: Batch, inside: torch.Tensor, apart: torch.Tensor) -> torch.Tensor:
    """The mean over all pairs of a prompt that are not tied; for K = 2 exactly Bradley-Terry.

    Ouyang et al. 2022, equation 1: all C(K, 2) pairs of a prompt are one element of the batch, each weighted
    1/C(K, 2). inside [groups, K, T]: positions up to a response's end; apart [groups, K, K]: where two responses part.
    """
    by_position = rewards.movedim(-1, -2)  # [members, groups, T, K]
    losses = pair_losses(by_position, batch["margin"][:, None]).movedim(-3, -1)  # [members, groups, K, K, T]
    parted = torch.arange(rewards.shape[-1], device=rewards.device) >= apart[..., None]
    compared = parted & (inside[:, :, None] | inside[:, None])  # [groups, K, K, T]
    return masked_mean(masked_mean(losses, compared).flatten(-2), better_pairs(batch["ranks"]).flatten(-2))


def _best_of_k(rewards: torch.Tensor, batch: Batch, inside: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    losses = best_of_k(rewards.movedim(-1, -2), batch["ranks"][:, None])  # [members, groups, T]
    return masked_mean(losses, inside.any(1))


def _plackett_luce(rewards: torch.Tensor, batch: Batch, inside: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    losses = plackett_luce(rewards.movedim(-1, -2), batch["ranks"][:, None])
    return masked_mean(losses, inside.any(1))


def _regression(rewards: torch.Tensor, batch: Batch, inside: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    """The mean over the scores that a record has, of all its responses and dimensions."""
    scores = batch["scores"].movedim(-1, 0)  # [dimensions, groups, K]
    errors = masked_mean((rewards - scores.nan_to_num()[..., None]) ** 2, inside)  # [outputs, groups, K]
    given = (~torch.isnan(scores)).expand_as(errors)
    if len(scores) == 1:  # every output is a member that learns the one dimension
        return masked_mean(errors, given)
    return masked_mean(errors.movedim(0, -1).flatten(-2), given.movedim(0, -1).flatten(-2))[None]


def prompt_sharing(model: PreTrainedModel, choice: str, max_tokens: int) -> Cost | None:
    """What `Collator` needs to share prompts; None: it may not. Raises ConfigError where it must, with the reason.

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
    separate = Collator(0, every_position=True)([group])
    shared = Collator(0, every_position=True, always=True)([group])
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
