"""Losses of reward modelling: rewards are raw scalars, higher is better; a loss is a mean over the batch, in nats."""

from itertools import combinations

import torch
from torch.nn.functional import cross_entropy, logsigmoid


def bradley_terry(chosen: torch.Tensor, rejected: torch.Tensor, margin: torch.Tensor | float = 0.0) -> torch.Tensor:
    """-log sigmoid(r_chosen - r_rejected - margin); tensors [pairs].

    Ouyang et al. 2022, equation 1; the margin as in Llama 2 (Touvron et al. 2023), equation 2.
    """
    return -logsigmoid(chosen - rejected - margin).mean()


def bradley_terry_every_position(
    chosen: torch.Tensor, rejected: torch.Tensor, compare: torch.Tensor, margin: torch.Tensor | float = 0.0
) -> torch.Tensor:
    """The Bradley-Terry loss between the rewards of two prefixes of equal length.

    `chosen` and `rejected` are rewards [pairs, positions], `compare` [pairs, positions] is true where a position is
    compared: from the first differing token to the end of the shorter one. The mean over a pair's positions first,
    so that long answers weigh no more than short ones, then over pairs. With it a prefix can be scored, as the
    per-token verifiers of Cobbe et al. 2021 (section 4.2) can.
    """
    if isinstance(margin, torch.Tensor):
        margin = margin[:, None]
    losses = -logsigmoid(chosen - rejected - margin) * compare
    return (losses.sum(1) / compare.sum(1).clamp(min=1)).mean()


def best_of_k(rewards: torch.Tensor, best: torch.Tensor) -> torch.Tensor:
    """Softmax cross-entropy of the labelled best of k samples; rewards [prompts, k], best [prompts].

    Ziegler et al. 2019, equation 1 (k = 4).
    """
    return cross_entropy(rewards, best)


def ranked_pairs(rewards: torch.Tensor) -> torch.Tensor:
    """The mean Bradley-Terry loss over all pairs of one prompt; rewards [k] listed best to worst.

    Ouyang et al. 2022, equation 1: all C(k, 2) pairs of a prompt are one element of the batch.
    """
    pairs = list(combinations(range(len(rewards)), 2))
    better, worse = (torch.tensor(side) for side in zip(*pairs, strict=True))
    return bradley_terry(rewards[better], rewards[worse])


def plackett_luce(rewards: torch.Tensor) -> torch.Tensor:
    """-log of the probability of the whole ranking; rewards [k] listed best to worst (Plackett 1975)."""
    return sum((torch.logsumexp(rewards[i:], 0) - rewards[i] for i in range(len(rewards))), torch.zeros(()))
