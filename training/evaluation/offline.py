"""`bestofn evaluate --reward-model` and `--policy`: samples are drawn once, and serve whatever was asked about them.

bestofn evaluate --reward-model arithmetic-reward --data comparisons.jsonl --output runs/evaluation
bestofn evaluate --reward-model arithmetic-reward --lab arithmetic --policy arithmetic-sft --samples 64
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from training.data.read import read_comparisons
from training.evaluation import policy, reward_model
from training.evaluation.measure import SEED, held_out_samples
from training.evaluation.scoring import score
from training.labs import lab

SAMPLES_TO_RANK, SAMPLES = 16, 4


@dataclass(frozen=True)
class Offline:
    """What to measure; empty: not asked for. samples 0: enough for what is measured."""

    lab: str
    lab_options: Mapping[str, Any] = field(default_factory=dict)
    reward_model: str = ""
    data: str = ""
    split: str = "train"
    policy: str = ""
    reference: str = ""
    against: str = ""
    prompts: int = 500
    samples: int = 0
    sampler: str = "auto"
    seed: int = 0


def run(asked: Offline) -> tuple[reward_model.RewardReport | None, policy.PolicyReport | None]:
    """The reports on the reward model and on the policy. Raises ValueError, DataError or OSError with what is wrong."""
    if asked.data:
        comparisons, read = read_comparisons(asked.data, split=asked.split)
        report = reward_model.on_comparisons(asked.reward_model, comparisons, read.format, read.summary())
        return report, None
    return _in_lab(asked)


def _in_lab(asked: Offline) -> tuple[reward_model.RewardReport | None, policy.PolicyReport | None]:
    world = lab(asked.lab, asked.lab_options)
    name = asked.policy or f"{asked.lab}-sft"
    count = asked.samples or (SAMPLES_TO_RANK if asked.reward_model else SAMPLES)
    samples = held_out_samples(
        world, name, kind=asked.sampler, prompts=asked.prompts, count=count, seed=SEED + asked.seed
    )
    scored = score(samples, asked.reward_model) if asked.reward_model else None
    reward = None
    if scored:
        data = f"{count} answers of `{name}` to each of {asked.prompts} held-out prompts of the lab "
        reward = reward_model.in_lab(asked.reward_model, world, samples, scored, f"{data}`{asked.lab}`.")
    measured = None
    if asked.policy:
        measured = policy.measure(
            world,
            name,
            samples,
            reference=asked.reference,
            scored=scored,
            against=asked.against,
            sampler=asked.sampler,
            seed=asked.seed,
        )
    return reward, measured
