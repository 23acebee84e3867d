"""Held-out samples of a policy in a lab, their gold reward, and what a reward model's best-of-n adds to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from measuring.estimators import Floats, Interval, best_of_n_wins, bootstrap, share_closed
from reward.bounds import kl_bound_nats
from reward.expected_best import best_of_each
from training.data.records import Comparison
from training.evaluation.baselines import ONE_ANSWER, Baselines, markdown_table
from training.labs import model_path
from training.labs.lab import Lab
from training.policy.rollout import sampler
from training.samples.preferences import draw

SEED = 1_000_003  # of the held-out prompts and of the answers to them


@dataclass(frozen=True)
class BestOfNCurve:
    """Held-out gold reward and proxy reward of best-of-n for each n, and the share of what was possible."""

    gold: dict[int, Interval]
    proxy: dict[int, Interval]
    # How often its gold is higher than that of one other sample, ties as half; for n up to half of the samples.
    wins: dict[int, Interval]
    best_of_largest: Interval  # the best by gold of the largest n
    closed: Interval  # share of the distance between N = 1 and that which the selection closes

    def table(self, free: Baselines | None = None) -> str:
        """Markdown for a model card. free: of the same samples, shown beside."""
        largest = max(self.gold)
        head = ["best of", "gold reward [95 % interval]", "wins over one sample", "its own reward", "KL bound, nats"]
        rows: list[list[object]] = [
            [n, self.gold[n], self.wins.get(n, ""), self.proxy[n], f"{kl_bound_nats(n):.2f}"] for n in self.gold
        ]
        rows.append([f"the best of {largest} by gold", self.best_of_largest])
        closes = f"Best-of-{largest} closes {self.closed} of the distance between N=1 and that."
        if free:
            head += ["best free baseline", "gold over that"]
            for n, row in zip(self.gold, rows, strict=False):
                row += [f"{free.best_free[n]}: {free.best_free_gold[n]}", free.worth_over_best[n]]
            rows += [[ONE_ANSWER.get(name, f"one answer, {name}"), value] for name, value in free.single.items()]
            closes += f" {free.sentence}"
        return f"{markdown_table(head, rows)}\n\n{closes}"


@dataclass(frozen=True)
class PolicyGold:
    """The mean gold reward of one sampled answer, and of the best of several."""

    single: Interval
    count: int
    best: Interval

    def table(self) -> str:
        """One sentence for a model card."""
        return (
            f"Gold reward on held-out prompts (accuracy and pass@{self.count} where gold is 0 or 1): one sample at "
            f"temperature 1: {self.single}; the best of {self.count}: {self.best}."
        )


def held_out_samples(
    world: Lab, policy: str | Path, *, kind: str, prompts: int, count: int, seed: int = SEED
) -> list[Comparison]:
    """`count` answers of the policy to each of `prompts` held-out prompts; the same prompts for every policy."""
    asked = world.prompts(prompts, "held_out", seed=SEED)
    with sampler(kind, model_path(str(policy))) as drawing:
        return draw(drawing, asked, count=count, max_tokens=world.answer_tokens, seed=seed)


def policy_gold(world: Lab, policy: str | Path, *, kind: str = "transformers", prompts: int, count: int) -> PolicyGold:
    """Sample `count` answers to each of `prompts` held-out prompts. Intervals are over prompts."""
    rewards = gold(world, held_out_samples(world, policy, kind=kind, prompts=prompts, count=count))
    return PolicyGold(
        single=bootstrap(rewards, lambda rows: float(rows.mean())),
        count=count,
        best=bootstrap(rewards, lambda rows: float(rows.max(axis=1).mean())),
    )


def best_of_n_curve(proxy: Floats, true: Floats) -> BestOfNCurve:
    """Best-of-n without bias for n = 1, 2, 4, ..., N, from both rewards of N answers to each prompt, [prompts, N]."""
    sizes = sizes_up_to(true.shape[1])
    selected = np.array([best_of_each(p, g, sizes) for p, g in zip(proxy, true, strict=True)])  # [prompts, sizes]
    rewarded = np.array([best_of_each(p, p, sizes) for p in proxy])
    columns = np.column_stack([selected, true.max(axis=1)])
    half = sizes_up_to(true.shape[1] // 2)
    wins = np.array([best_of_n_wins(p, g, half) for p, g in zip(proxy, true, strict=True)])

    def closed(rows: Floats) -> float:
        return share_closed(rows[:, 0].mean(), rows[:, -2].mean(), rows[:, -1].mean())

    return BestOfNCurve(
        gold={n: column_mean(selected, index) for index, n in enumerate(sizes)},
        proxy={n: column_mean(rewarded, index) for index, n in enumerate(sizes)},
        wins={n: column_mean(wins, index) for index, n in enumerate(half)},
        best_of_largest=column_mean(columns, -1),
        closed=bootstrap(columns, closed),
    )


def sizes_up_to(count: int) -> list[int]:
    """1, 2, 4, ... and `count` itself."""
    return sorted({2**power for power in range(count.bit_length())} | {count})


def column_mean(rows: Floats, column: int) -> Interval:
    """The mean of one column of `rows` [prompts, columns], with its interval over prompts."""
    return bootstrap(rows[:, [column]], lambda sample: float(sample.mean()))


def gold(world: Lab, samples: Sequence[Comparison]) -> Floats:
    """The gold reward of every answer, [prompts, answers]."""
    return np.array([[world.gold(s.messages, text) for text in s.responses] for s in samples])
