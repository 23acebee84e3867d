"""`bestofn evaluate reward` and `policy`: samples are drawn once, and serve whatever was asked about them.

bestofn evaluate reward --reward-model arithmetic-reward --data comparisons.jsonl --output runs/evaluation
bestofn evaluate reward --reward-model arithmetic-reward --lab arithmetic --samples 64
bestofn evaluate policy --policy arithmetic-ppo --lab arithmetic --reference arithmetic-sft --against arithmetic-sft
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from training.data.read import read_comparisons
from training.evaluation import policy, reward_model
from training.evaluation.baselines import Baselines, baselines
from training.evaluation.held_out import HeldOut, held_out, pool_of
from training.evaluation.measure import SEED, sizes_up_to
from training.evaluation.policy import PolicyReport
from training.evaluation.reward_model import RewardReport
from training.evaluation.scoring import ScoredComparisons, score
from training.labs import lab
from training.labs.lab import Lab

SAMPLES_TO_RANK, SAMPLES = 16, 4


@dataclass(frozen=True)
class Answers:
    """Which answers to a lab's held-out prompts are measured."""

    lab: str
    lab_options: Mapping[str, Any] = field(default_factory=dict)
    # The checkpoint that answers; empty: LAB-sft.
    policy: str = ""
    prompts: int = 500
    # Answers to each prompt; 0: enough for what is measured.
    samples: int = 0
    sampler: str = "auto"
    seed: int = 0

    @property
    def answering(self) -> str:
        """The policy's name."""
        return self.policy or f"{self.lab}-sft"

    def draw(self, world: Lab, enough: int) -> HeldOut:
        """The answers, as many to each prompt as asked for or else `enough`."""
        count = self.samples or enough
        seed = SEED + self.seed
        return held_out(world, self.answering, kind=self.sampler, prompts=self.prompts, count=count, seed=seed)


def reward_on_data(name: str, data: str, split: str) -> RewardReport:
    """A reward model on labelled comparisons. Raises ValueError, DataError or OSError with what is wrong."""
    comparisons, read = read_comparisons(data, split=split)
    return reward_model.on_comparisons(name, comparisons, read.format, read.summary())


def reward_in_lab(name: str, answers: Answers) -> RewardReport:
    """A reward model as the judge of a policy's answers. Raises ValueError or OSError with what is wrong."""
    world = lab(answers.lab, answers.lab_options)
    drawn = answers.draw(world, SAMPLES_TO_RANK)
    return _reward_in_lab(name, answers, world, drawn, score(drawn.samples, name))


def policy_in_lab(
    answers: Answers, *, reward_name: str = "", reference: str = "", against: str = ""
) -> tuple[RewardReport | None, PolicyReport]:
    """A policy by its answers, and with a reward model that one too, by the same answers.

    Empty: no reward model, no KL to a reference, no win rate against another policy. Raises ValueError or OSError with
    what is wrong.
    """
    world = lab(answers.lab, answers.lab_options)
    drawn = answers.draw(world, SAMPLES_TO_RANK if reward_name else SAMPLES)
    scored = score(drawn.samples, reward_name) if reward_name else None
    reward = _reward_in_lab(reward_name, answers, world, drawn, scored) if scored else None
    measured = policy.measure(
        world,
        answers.answering,
        drawn.samples,
        reference=reference,
        scored=scored,
        against=against,
        sampler=answers.sampler,
        seed=answers.seed,
        baselines=None if reward else _beside(answers, world, drawn, None),
    )
    return reward, measured


def _reward_in_lab(name: str, answers: Answers, world: Lab, drawn: HeldOut, scored: ScoredComparisons) -> RewardReport:
    data = (
        f"{len(drawn.samples[0].responses)} answers of `{answers.answering}` to each of {answers.prompts} held-out "
        f"prompts of the lab `{answers.lab}`."
    )
    return reward_model.in_lab(name, world, drawn.samples, scored, data, _beside(answers, world, drawn, scored))


def _beside(answers: Answers, world: Lab, drawn: HeldOut, scored: ScoredComparisons | None) -> Baselines:
    pool = pool_of(world, answers.answering, drawn, scored.normalised() if scored else None)
    return baselines(pool, sizes_up_to(pool.gold.shape[1]))
