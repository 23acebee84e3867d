"""The quantities of PPO on token sequences, each as its paper has it. Pure functions of tensors [answers, tokens].

`mask` is true at the tokens of the answer, end of text included; what stands elsewhere never changes a result.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch


def token_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean over the tokens of all answers together; 0 where there is none."""
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)


def whiten(
    values: torch.Tensor,
    mask: torch.Tensor,
    *,
    shift_mean: bool = True,
    total: Callable[[torch.Tensor], torch.Tensor] = lambda part: part,
) -> torch.Tensor:
    """Bring values to variance 1 over all answers' tokens, and to mean 0 unless `shift_mean` is false.

    With the population variance, as OpenAI's lm-human-preferences has it (TRL's is the unbiased one). 0 outside.
    total: makes the sum over all processes of this process's part.
    """
    count = total(mask.sum()).clamp(min=1)
    mean = total(torch.where(mask, values, 0.0).sum()) / count
    variance = total(torch.where(mask, (values - mean) ** 2, 0.0).sum()) / count
    whitened = (values - mean) * torch.rsqrt(variance + 1e-8)
    return torch.where(mask, whitened if shift_mean else whitened + mean, 0.0)


def kl_estimators(log_ratio: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """k1, k2, k3 of Schulman 2020 ("Approximating KL divergence") from log(pi/pi_ref) of tokens sampled from pi.

    k1 is unbiased and has the largest variance; k2 is biased; k3 is unbiased and never negative.
    """
    return log_ratio, log_ratio**2 / 2, torch.expm1(-log_ratio) + log_ratio


def penalised_rewards(
    scores: torch.Tensor, logprobs: torch.Tensor, reference: torch.Tensor, mask: torch.Tensor, kl_coefficient: float
) -> torch.Tensor:
    """-beta * log(pi/pi_ref) at every token of the answer, and its score added at the last; scores [answers].

    Ziegler et al. 2019, equation 2.
    """
    rewards = torch.where(mask, -kl_coefficient * (logprobs - reference), 0.0)
    positions = torch.arange(mask.shape[1], device=mask.device)
    last = torch.where(mask, positions, -1).amax(1)
    return rewards + scores[:, None] * ((positions == last[:, None]) & mask)


def advantages_and_returns(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, *, gamma: float, gae_lambda: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Generalised advantage estimation (Schulman et al. 2016, equation 16), and advantage + value as the return.

    Behind the last token of an answer the value is 0.
    """
    values = torch.where(mask, values, 0.0)
    rewards = torch.where(mask, rewards, 0.0)
    advantage = torch.zeros_like(values[:, 0])
    next_value = torch.zeros_like(advantage)
    advantages = torch.zeros_like(values)
    for t in reversed(range(values.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        advantage = (delta + gamma * gae_lambda * advantage) * mask[:, t]
        advantages[:, t], next_value = advantage, values[:, t]
    return advantages, advantages + values


def policy_loss(
    logprobs: torch.Tensor, old: torch.Tensor, advantages: torch.Tensor, mask: torch.Tensor, *, clip: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss [answers, tokens] and where the clipped side decided it.

    max(-A r, -A clip(r, 1 - clip, 1 + clip)) with r = pi/pi_old (Schulman et al. 2017, equation 7); 0 outside `mask`.
    """
    ratio = torch.where(mask, logprobs - old, 0.0).exp()
    free, clipped = -advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip)
    return torch.where(mask, torch.maximum(free, clipped), 0.0), (clipped > free) & mask


def value_loss(
    values: torch.Tensor, old: torch.Tensor, returns: torch.Tensor, mask: torch.Tensor, *, clip: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Half the squared error [answers, tokens], not smaller than with the value kept within `clip` of the old one.

    As in OpenAI's PPO; the second tensor is true where the clipped side decided. 0 outside `mask`.
    """
    near = torch.maximum(torch.minimum(values, old + clip), old - clip)
    free, clipped = (values - returns) ** 2, (near - returns) ** 2
    return torch.where(mask, 0.5 * torch.maximum(free, clipped), 0.0), (clipped > free) & mask


@dataclass
class KLController:
    """The price of KL: fixed, or moved so that the KL of an answer comes to `target` nats.

    Ziegler et al. 2019, section 2.2: beta *= 1 + clip(kl / target - 1, -0.2, 0.2) * answers / horizon.
    """

    coefficient: float
    target: float = 0.0  # 0: the coefficient is fixed
    horizon: float = 10_000.0

    def update(self, kl: float, answers: int) -> None:
        """kl: nats, the mean over answers of the SUM over their tokens."""
        if self.target:
            error = min(max(kl / self.target - 1, -0.2), 0.2)
            self.coefficient *= 1 + error * answers / self.horizon

    def state_dict(self) -> dict[str, float]:
        return {"coefficient": self.coefficient}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self.coefficient = state["coefficient"]
