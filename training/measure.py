"""Offline measurement on held-out questions: the policy's accuracy, and what a reward model's best-of-n adds to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reward.batching import score_sequences
from reward.model import RewardConfig, combine, load
from training.estimators import Floats, Interval, best_of_n, bootstrap, pass_at_k, share_closed
from training.labs import arithmetic
from training.rollout import sampler
from training.samples import Samples, draw

SEED = 1_000_003  # of the held-out questions and of the answers to them


@dataclass(frozen=True)
class BestOfN:
    """Held-out accuracy of best-of-n for each n, pass@n for the largest, and the share of the distance closed."""

    accuracy: dict[int, Interval]
    pass_at_largest: Interval
    closed: Interval

    def table(self) -> str:
        """Markdown for a model card."""
        largest = max(self.accuracy)
        rows = [f"| {n} | {value} |" for n, value in self.accuracy.items()]
        return "\n".join(
            [
                "| best of | accuracy [95 % interval] |",
                "|---|---|",
                *rows,
                f"| pass@{largest} | {self.pass_at_largest} |",
                "",
                f"Best-of-{largest} closes {self.closed} of the distance between N=1 and pass@{largest}.",
            ]
        )


def held_out_samples(policy: str | Path, *, kind: str, questions: int, count: int, max_tokens: int) -> list[Samples]:
    """`count` answers of the policy to each of `questions` held-out questions (none of them asking for JSON)."""
    asked = arithmetic.questions(questions, "held_out", seed=SEED)
    return draw(sampler(kind, policy), asked, count=count, max_tokens=max_tokens, seed=SEED)


@dataclass(frozen=True)
class PolicyAccuracy:
    """How often one sampled answer is right, and how often at least one of several is."""

    single: Interval
    any_of: int
    pass_at_any: Interval

    def table(self) -> str:
        return (
            f"On held-out questions: accuracy of one sample at temperature 1: {self.single}; "
            f"pass@{self.any_of}: {self.pass_at_any}."
        )


def policy_accuracy(policy: str | Path, *, questions: int, count: int = 16, max_tokens: int = 64) -> PolicyAccuracy:
    """Sample `count` answers to each of `questions` held-out questions. Intervals are over questions."""
    gold = _gold(held_out_samples(policy, kind="transformers", questions=questions, count=count, max_tokens=max_tokens))
    return PolicyAccuracy(
        single=bootstrap(gold, lambda rows: float(rows.mean())),
        any_of=count,
        pass_at_any=bootstrap(gold, lambda rows: float(rows.max(axis=1).mean())),
    )


def best_of_n_accuracy(samples: Sequence[Samples], reward_model: str | Path) -> BestOfN:
    """Score every answer and estimate best-of-n without bias for n = 1, 2, 4, ... up to the answers per question."""
    gold, rewards = _gold(samples), _rewards(samples, reward_model)
    count = gold.shape[1]
    sizes = [2**power for power in range(count.bit_length())]
    selected = np.array(
        [[best_of_n(r, g, n) for n in sizes] for r, g in zip(rewards, gold, strict=True)]
    )  # [questions, sizes]
    oracle = np.array([pass_at_k(count, int(g.sum()), sizes[-1]) for g in gold])
    columns = np.column_stack([selected, oracle])

    def closed(rows: Floats) -> float:
        return share_closed(rows[:, 0].mean(), rows[:, -2].mean(), rows[:, -1].mean())

    def mean_of(column: int) -> Interval:
        return bootstrap(columns, lambda rows: float(rows[:, column].mean()))

    return BestOfN(
        accuracy={n: mean_of(index) for index, n in enumerate(sizes)},
        pass_at_largest=mean_of(-1),
        closed=bootstrap(columns, closed),
    )


def _gold(samples: Sequence[Samples]) -> Floats:
    """[questions, answers], 1 where right."""
    return np.array([[float(arithmetic.gold(s.question, text)) for text in s.responses] for s in samples])


def _rewards(samples: Sequence[Samples], reward_model: str | Path) -> Floats:
    """[questions, answers]."""
    model, template = load(reward_model)
    config = RewardConfig.of(model.config)
    sequences = []
    for sample in samples:
        prompt = template.prompt(sample.question.messages)
        sequences += [template.tokens(prompt, text) for text in sample.responses]
    rewards = [combine(raw, config)[0] for raw in score_sequences(model, sequences)]
    return np.array(rewards).reshape(len(samples), -1)
