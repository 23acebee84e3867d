"""Losses of reward modelling, for the responses to one prompt.

Rewards are raw scalars, higher is better; a loss is in nats.
Every function takes the K responses in the last dimension and any dimensions before it, and returns one loss for each
prompt (and whatever else stands before), not yet averaged. `ranks` are 0 for the best, equal for ties, and `ABSENT`
where a prompt has fewer than K responses.
"""

import torch
from torch.nn.functional import logsigmoid

ABSENT = -1


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
