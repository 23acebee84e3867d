"""Do K ranked answers teach more as one element of a batch than as shuffled pairs? (Ouyang et al. 2022, section 3.5)

    bestofn study k-wise --recipe k_wise --output runs/k-wise

The same labels train a reward model twice for each seed: every prompt's pairs together, and every pair a record of its
own, shuffled. Both see every pair equally often; accuracy is on the same held-out pairs.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import comb
from pathlib import Path
from typing import Any

from measuring.estimators import Interval, mean_interval
from training.experiments.studies.study import Study, StudyConfig
from training.run.config import ConfigError, setting
from training.run.metrics import METRICS_FILE


@dataclass(frozen=True, kw_only=True)
class KWiseConfig(StudyConfig):
    """`reward`: settings of the trainer with the comparisons kept whole; the labels are rankings."""

    reward: Mapping[str, Any] = setting(dict, "settings of the reward model: a RewardModelConfig")
    seeds: int = setting(3, "how often, each time with other labels, weights and order", minimum=2)

    def __post_init__(self) -> None:
        super().__post_init__()
        if "pairs_per_prompt" in self.reward or "seed" in self.reward:
            raise ConfigError("reward: the study itself sets seed and pairs_per_prompt")
        if "batch_size" not in self.reward:
            raise ConfigError("reward.batch_size: required, the comparisons in a batch")
        if self.label != "ranking":
            raise ConfigError("label: a ranking is what can be broken into pairs")


@dataclass(frozen=True)
class KWise:
    """Held-out pair accuracy of each seed, and how much higher it is with the comparisons kept whole."""

    whole: tuple[float, ...]
    pairs: tuple[float, ...]
    difference: Interval

    def table(self) -> str:
        """Markdown."""
        rows = [
            f"| {seed} | {w:.4f} | {p:.4f} |" for seed, (w, p) in enumerate(zip(self.whole, self.pairs, strict=True))
        ]
        head = ["| seed | K-wise | shuffled pairs |", "|---|---|---|"]
        return "\n".join([*head, *rows, "", f"K-wise minus pairs: {self.difference} in accuracy on held-out pairs."])


def run(config: KWiseConfig, output: Path) -> KWise:
    """Train both ways for each seed; writes README.md into `output`."""
    study = Study(config, output)
    whole, pairs = [], []
    for seed in range(config.seed, config.seed + config.seeds):
        labels = {"data": str(study.labels(f"seed-{seed}/labels", config.policy, slice(None), seed=seed)), "seed": seed}
        whole.append(_accuracy(study.reward(f"seed-{seed}/k-wise", config.reward, **labels)))
        pairs.append(_accuracy(study.reward(f"seed-{seed}/pairs", _in_pairs(config), **labels)))
    difference = mean_interval([a - b for a, b in zip(whole, pairs, strict=True)])
    found = KWise(tuple(whole), tuple(pairs), difference)
    (output / "README.md").write_text(f"# K-wise or pairs\n\n{found.table()}\n", encoding="utf-8")
    return found


def _in_pairs(config: KWiseConfig) -> dict[str, Any]:
    """Batches of as many pairs as the other way has, so that both take equally many steps over the same pairs."""
    count = comb(config.samples_per_prompt, 2)
    return {**config.reward, "pairs_per_prompt": count, "batch_size": int(config.reward["batch_size"]) * count}


def _accuracy(folder: Path) -> float:
    """The last accuracy on held-out pairs that the trainer wrote."""
    rows = map(json.loads, (folder / METRICS_FILE).read_text(encoding="utf-8").splitlines())
    return float([row["eval_accuracy"] for row in rows if "eval_accuracy" in row][-1])
