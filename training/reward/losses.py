"""Losses of reward modelling, for the responses to one prompt; `objective` is what the trainer calls.

Rewards are raw scalars, higher is better; a loss is in nats. The other functions take the K responses in the last
dimension and any dimensions before it, and return one loss for each prompt (and whatever else stands before), not yet
averaged. `ranks` are 0 for the best, equal for ties, and `ABSENT` where a prompt has fewer than K responses.
"""

import torch
from torch.nn.functional import logsigmoid

from training.reward.data import ABSENT, Batch


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


def bradley_terry(better: torch.Tensor, worse: torch.Tensor, margin: torch.Tensor | float = 0.0) -> torch.Tensor:
    """-log sigmoid(r_better - r_worse - margin), for each element.

    Ouyang et al. 2022, equation 1; the margin as in Llama 2 (Touvron et al. 2023), equation 2.
    """
    return -logsigmoid(better - worse - margin)


def pair_losses(rewards: torch.Tensor, margin: torch.Tensor) -> torch.Tensor:
    """[..., i, j]: the Bradley-Terry loss if response i is the better one; rewards [..., K], margin [...]."""
    return bradley_terry(rewards[..., :, None], rewards[..., None, :], margin[..., None, None])


def better_pairs(ranks: torch.Tensor) -> torch.Tensor:
    """[..., i, j] is true where response i is ranked above j; ties and absent responses make no pair."""
    first, second = ranks[..., :, None], ranks[..., None, :]
    return (first < second) & (first != ABSENT)


def best_of_k(rewards: torch.Tensor, ranks: torch.Tensor) -> torch.Tensor:
    """Softmax cross-entropy of the one response of rank 0 among all (Ziegler et al. 2019, equation 1, with K = 4)."""
    among_all = rewards.masked_fill(ranks == ABSENT, -torch.inf)
    return torch.logsumexp(among_all, -1) - torch.where(ranks == 0, rewards, 0.0).sum(-1)


def plackett_luce(rewards: torch.Tensor, ranks: torch.Tensor) -> torch.Tensor:
    """-log of the probability of the whole ranking (Plackett 1975), a sum over the responses.

    Each response is chosen among itself and those ranked below it. Tied responses do not compete with each other: for
    ranks without ties this is Plackett-Luce, and where only the best is known it is `best_of_k`.
    """
    below = better_pairs(ranks) | torch.eye(ranks.shape[-1], dtype=torch.bool, device=ranks.device)
    choices = rewards[..., None, :].masked_fill(~below, -torch.inf)  # [..., i, j]: what response i was chosen among
    return ((torch.logsumexp(choices, -1) - rewards) * (ranks != ABSENT)).sum(-1)


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Over the last dimension; 0 where the mask is empty."""
    return torch.where(mask, values, 0.0).sum(-1) / mask.sum(-1).clamp(min=1)


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
