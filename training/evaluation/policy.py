"""Measures a policy in a lab: what it is after (gold), what it was trained on (proxy), and how far it went for it (KL).

Every interval is over prompts, from several samples at temperature 1 of each.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from measuring.estimators import Floats, Interval, bootstrap, distinct_n, mean_interval, win_shares
from reward.template import ConversationTemplate
from training.data.records import Comparison, Conversation
from training.evaluation.baselines import Baselines
from training.evaluation.measure import SEED, gold, held_out_samples
from training.evaluation.scoring import ScoredComparisons, score
from training.labs import model_path
from training.labs.lab import Lab
from training.policy.completion_logprobs import completion_logprobs, same_vocabulary, sampled_tokens


@runtime_checkable
class Refusing(Protocol):
    """A lab in which declining to answer is possible and can be recognised."""

    def refused(self, prompt: Conversation, response: str) -> bool: ...


@dataclass(frozen=True)
class WinRate:
    """By gold against another policy, over all pairs of samples of the same prompt: ties count as half."""

    against: str
    wins: Interval
    ties: float


@dataclass(frozen=True)
class PolicyReport:
    """What was measured of a policy. What was not asked for, or the lab does not know, is None."""

    policy: str
    lab: str
    prompts: int
    samples: int
    gold: Interval  # of one answer
    tokens: Interval  # of one answer, its end included
    distinct: dict[int, float]  # by n, different n-grams of words over all n-grams of all answers
    distinct_of_prompt: dict[int, Interval]  # the same within the answers to one prompt
    cut_off: float  # share of answers that filled the lab's limit
    proxy: Interval | None = None  # normalised reward of one answer
    kl: Interval | None = None  # nats to the reference, of one answer
    reference: str = ""
    win_rate: WinRate | None = None
    refusals: Interval | None = None
    baselines: Baselines | None = None


def measure(
    world: Lab,
    policy: str,
    samples: Sequence[Comparison],
    *,
    reference: str = "",
    scored: ScoredComparisons | None = None,
    against: str = "",
    sampler: str = "auto",
    seed: int = 0,
    baselines: Baselines | None = None,
) -> PolicyReport:
    """`samples`: equally many answers of the policy to each held-out prompt, drawn with SEED + `seed`.

    `scored`: their rewards. `baselines`: what choosing among them without a reward model gives.

    Raises ValueError when the reference does not share the policy's vocabulary.
    """
    count = len(samples[0].responses)
    model, template = load_policy(policy)
    limit = world.answer_tokens
    rows = [sampled_tokens(template, sample, limit) for sample in samples]
    ends = set(template.tokenizer.all_special_ids)
    true = gold(world, samples)
    return PolicyReport(
        policy=policy,
        lab=world.name,
        prompts=len(samples),
        samples=count,
        gold=_over_prompts(true),
        tokens=_over_prompts(np.array([[len(a.tokens) - a.start for a in answers] for answers in rows])),
        distinct={n: distinct_n([text for s in samples for text in s.responses], n) for n in (1, 2)},
        distinct_of_prompt={n: _diversity(samples, n) for n in (1, 2)},
        cut_off=float(np.mean([[a.tokens[-1] not in ends for a in answers] for answers in rows])),
        proxy=_over_prompts(np.array(scored.normalised())) if scored else None,
        kl=kl_to_reference(model, template, reference, samples, limit) if reference else None,
        reference=reference,
        win_rate=win_rate(world, true, against, sampler, seed=seed) if against else None,
        refusals=_refusals(world, samples) if isinstance(world, Refusing) else None,
        baselines=baselines,
    )


def before_and_after(
    world: Lab,
    before: str,
    after: str | Path,
    *,
    prompts: int,
    count: int,
    sampler: str,
    reference: str,
    reward_model: str = "",
) -> str:
    """A markdown table for a model card: both policies on the same held-out prompts, and how often the second wins.

    `count` samples to each prompt, drawn by the `sampler` of that kind.
    """
    reports = []
    for path, rival in ((before, ""), (str(after), before)):
        drawn = held_out_samples(world, path, kind=sampler, prompts=prompts, count=count)
        scored = score(drawn, reward_model) if reward_model else None
        reports.append(measure(world, path, drawn, reference=reference, scored=scored, against=rival, sampler=sampler))
    wins = reports[1].win_rate
    rows: dict[str, list[object]] = {
        "gold reward of one sample at temperature 1": [report.gold for report in reports],
        "wins by gold against before, ties as half": ["", wins.wins if wins else ""],
        "reward": [report.proxy for report in reports],
        "KL to the reference, nats per answer": [report.kl for report in reports],
        "tokens of an answer": [report.tokens for report in reports],
        "different words over all words, within a prompt": [report.distinct_of_prompt[1] for report in reports],
    }
    title = f"{prompts} held-out prompts, {count} samples each"
    lines = [f"| {name} | {first} | {second} |" for name, (first, second) in rows.items() if second is not None]
    return "\n".join([f"| {title} | before | after |", "|---|---|---|", *lines])


def load_policy(name: str | Path) -> tuple[Any, ConversationTemplate]:
    """The policy in evaluation mode, on a GPU where there is one, and its conversation template."""
    path = model_path(str(name))
    model: Any = AutoModelForCausalLM.from_pretrained(path, dtype="auto")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return model.to(device).eval(), ConversationTemplate(AutoTokenizer.from_pretrained(path))


def kl_to_reference(
    model: Any, template: ConversationTemplate, reference: str, samples: Sequence[Comparison], max_tokens: int
) -> Interval:
    """KL(policy || reference) in nats: the mean over the policy's samples of sum_t (log pi - log pi_ref)."""
    other, other_template = load_policy(reference)
    if not same_vocabulary(template.tokenizer, other_template.tokenizer):
        raise ValueError(
            f"--reference {reference}: its tokenizer or chat template is not the policy's: no KL can be measured"
        )
    ours = completion_logprobs(model, template, samples, max_tokens=max_tokens)
    theirs = completion_logprobs(other, template, samples, max_tokens=max_tokens)
    ratios = [
        [float((a - b).sum()) for a, b in zip(first, second, strict=True)]
        for first, second in zip(ours, theirs, strict=True)
    ]
    return _over_prompts(np.array(ratios))


def win_rate(world: Lab, true: Floats, against: str, sampler: str, *, seed: int = 0) -> WinRate:
    """Against as many samples of another policy to the same prompts; `true`: our gold rewards [prompts, samples].

    `seed`: ours were drawn with SEED + `seed`.
    """
    # Never the same: two policies that are alike would give the same samples.
    other = SEED - 1 - seed
    theirs = held_out_samples(world, against, kind=sampler, prompts=len(true), count=true.shape[1], seed=other)
    shares = np.array([win_shares(a, b) for a, b in zip(true, gold(world, theirs), strict=True)])
    return WinRate(
        against, bootstrap(shares, lambda rows: float((rows[:, 0] + rows[:, 1] / 2).mean())), float(shares[:, 1].mean())
    )


def _diversity(samples: Sequence[Comparison], n: int) -> Interval:
    values = [distinct_n(sample.responses, n) for sample in samples]
    return mean_interval([value for value in values if not math.isnan(value)])


def _refusals(world: Refusing, samples: Sequence[Comparison]) -> Interval:
    return _over_prompts(np.array([[world.refused(s.messages, text) for text in s.responses] for s in samples], float))


def _over_prompts(values: Floats) -> Interval:
    """The mean of `values` [prompts, samples], with its interval over prompts."""
    return bootstrap(values, lambda rows: float(rows.mean()))
