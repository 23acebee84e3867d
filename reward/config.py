"""What a reward checkpoint holds about itself, and how its outputs become one reward.

`config.bestofn` may hold `{"heads": [names], "mean": float, "std": float}`; without it there is one head, mean 0 and
standard deviation 1. Needs no torch.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_KEYS = {"heads", "mean", "std"}


@dataclass(frozen=True)
class RewardConfig:
    """The names of the outputs (empty for a single one) and the normalisation of their mean."""

    heads: tuple[str, ...] = ()
    mean: float = 0.0
    std: float = 1.0

    @classmethod
    def of(cls, config: "PreTrainedConfig") -> "RewardConfig":
        """Read `config.bestofn`. Raises ValueError for what it cannot mean, and when it contradicts `num_labels`."""
        values = getattr(config, "bestofn", None) or {}
        if not isinstance(values, Mapping) or set(values) - _KEYS:
            raise ValueError(f"config.bestofn: expected a dict with keys among {sorted(_KEYS)}, got {values!r}")
        heads = tuple(str(name) for name in values.get("heads") or ())
        mean, std = float(values.get("mean", 0.0)), float(values.get("std", 1.0))
        if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
            raise ValueError(f"config.bestofn: mean {mean} and std {std} must be finite, std positive")
        if len(set(heads)) != len(heads):
            raise ValueError(f"config.bestofn: the heads {list(heads)} are not all different")
        if config.num_labels != max(1, len(heads)):
            raise ValueError(
                f"the checkpoint has num_labels={config.num_labels} but config.bestofn names {len(heads)} heads; "
                "name every output in config.bestofn['heads'], or use a checkpoint with one output"
            )
        return cls(heads, mean, std)


PLAIN = RewardConfig()


def combine(raw: Sequence[float], config: RewardConfig) -> tuple[float, dict[str, float]]:
    """The reward to rank by, and the reward of each named head.

    `raw` holds the model's outputs, one per head. The reward is their mean, minus `mean`, over `std`; it is nan or
    infinite when an output is. Raises ValueError when the number of outputs is not the number of heads.
    """
    if len(raw) != max(1, len(config.heads)):
        raise ValueError(f"the model gave {len(raw)} outputs for {max(1, len(config.heads))} heads")
    reward = (sum(raw) / len(raw) - config.mean) / config.std
    return reward, dict(zip(config.heads, raw, strict=True)) if config.heads else {}


def weigh(rewards: Mapping[str, float], weights: Mapping[str, float], config: RewardConfig) -> float:
    """The reward to rank by, from the raw reward of each head, with weights of one's own.

    sum(w_h raw_h) / sum |w_h|, minus `mean`, over `std`: equal weights give the checkpoint's own reward. A head that
    `weights` does not name has none. Raises KeyError for a head that `rewards` lacks.
    """
    total = sum(abs(weight) for weight in weights.values())
    mean = sum(weight * rewards[head] for head, weight in weights.items() if weight) / total
    return (mean - config.mean) / config.std
