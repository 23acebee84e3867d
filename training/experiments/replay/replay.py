"""What strategies would have made of recorded candidates, beside plain best-of-N at equal N and at equal tokens.

    bestofn replay runs/trace.parquet --best-of 32 --rerank '{"strategy": "prune", "keep": 0.5}'

Each prompt's candidates are drawn from its pool, without replacement, `draws` times. A strategy is planned from a
request, as the server plans it. Quality is gold where the trace knows it, else the reward itself.
"""

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from measuring.estimators import Floats, Interval, bootstrap
from reward.config import PLAIN, RewardConfig
from reward.expected_best import best_of_each
from service.rerank.options import DEFAULT_STRATEGY
from service.rerank.plan import Plan, make_plan
from service.rerank.request import Ask, Limits, read_ask
from service.rerank.selection import select
from service.rerank.strategies.greedy import GreedyOptions
from service.rerank.strategies.profile import StrategyProfile
from training.experiments.replay.learn import Fold
from training.experiments.replay.simulate import Outcome, Timing, simulate
from training.samples.trace import Traced, TracedPrompt, check_pools, has_prefixes

_Answer = tuple[float, float, Outcome]  # quality and tokens of what was chosen, nan where nothing was


@dataclass(frozen=True)
class Played:
    """One way to answer, over all prompts: means over draws, each [prompts]."""

    name: str
    quality: Floats  # of the draws that were answered, nan where none was
    tokens: Floats
    sampled: Floats
    returned: Floats  # tokens of the answer, of the draws that were answered
    latency_s: Floats  # of every draw, [prompts, draws], nan where it was not answered
    equal_tokens: Floats  # the quality of plain best-of-n with an n that costs as many tokens
    unanswered: float  # share of all draws
    stop_reasons: Mapping[str, float]


@dataclass(frozen=True)
class Replay:
    """Ways to answer beside each other, on the same candidates."""

    best_of: int
    played: tuple[Played, ...]  # plain best-of-N first
    single: Floats  # the quality of one sample, [prompts]
    draws: int

    def gain_kept(self, played: Played) -> Interval:
        """Share of best-of-N's gain over one sample; nan where best-of-N gains nothing."""
        rows = np.column_stack([played.quality, self.played[0].quality, self.single])
        return bootstrap(known(rows), _share_of_gain)

    def tokens_share(self, played: Played) -> Interval:
        """Of best-of-N's tokens."""
        rows = np.column_stack([played.tokens, self.played[0].tokens])
        return bootstrap(rows, lambda sample: float(sample[:, 0].sum() / sample[:, 1].sum()))

    def over_equal_tokens(self, played: Played) -> Interval:
        """Quality less that of plain best-of-n at equal tokens."""
        rows = np.column_stack([played.quality - played.equal_tokens])
        return bootstrap(known(rows), lambda sample: float(sample.mean()))


def replay(
    folds: Sequence[Fold], asked: Sequence[Mapping[str, Any]], *, best_of: int, draws: int, seed: int = 0
) -> Replay:
    """asked: `rerank` objects; plain best-of-N is played first. folds: prompts, each with the profile that is theirs.

    Raises ValueError where a pool holds fewer than `best_of`, and ServiceError for what no request could ask.
    """
    prompts = [prompt for _, of_fold in folds for prompt in of_fold]
    check_pools(prompts, best_of)
    timing, reward = Timing.of(prompts), reward_config(prompts)
    plain = {"strategy": DEFAULT_STRATEGY}
    played = []
    for rerank in [plain, *(other for other in asked if other != plain)]:
        ask = _ask(rerank, best_of, reward)
        if ask.options.strategy.reads_prefixes and not has_prefixes(prompts):
            raise ValueError(
                f"{ask.options.strategy.name} needs rewards of growing candidates: a trace, or a log of a server with "
                "--prefix-score-tokens"
            )
        _check_recorded(_plan(ask, folds[0][0]), prompts)
        answers = [
            _answers(prompt, _plan(ask, profile), timing, draws=draws, seed=seed + number)
            for profile, of_fold in folds
            for number, prompt in enumerate(of_fold)
        ]
        played.append(_played(_name(rerank), answers, prompts))
    single = np.array([np.mean([quality(candidate) for candidate in prompt.candidates]) for prompt in prompts])
    return Replay(best_of, tuple(played), single, draws)


def plan(rerank: Mapping[str, Any], best_of: int, profile: StrategyProfile, reward: RewardConfig = PLAIN) -> Plan:
    """As the server plans a request with this `rerank` object. Raises ValueError for reward_weights."""
    return _plan(_ask(rerank, best_of, reward), profile)


def _ask(rerank: Mapping[str, Any], best_of: int, reward: RewardConfig) -> Ask:
    """A trace has the rewards of prefixes as they were, and not by head, so they cannot be weighed anew."""
    if rerank.get("reward_weights"):
        raise ValueError("rerank.reward_weights: a trace cannot be replayed with other weights")
    if rerank.get("strategy") == GreedyOptions.name or rerank.get("include_greedy"):
        raise ValueError("a trace holds samples of the policy, and no greedy answer to replay")
    body = json.dumps({"best_of": best_of, "rerank": rerank}).encode()
    return read_ask("chat", body, None, Limits(1, max_best_of=best_of, max_candidates=best_of, reward=reward))


def _check_recorded(plan: Plan, prompts: Sequence[TracedPrompt]) -> None:
    """Raises ValueError where the choice reads what some candidate does not have."""
    for quantity in sorted(plan.quantities):
        if any(getattr(one, quantity) is None for prompt in prompts for one in prompt.candidates):
            raise ValueError(
                f"rerank.selection: {plan.selection} reads the {quantity} of each candidate, which was not recorded; "
                "collect with rerank.trace"
            )


def _plan(ask: Ask, profile: StrategyProfile) -> Plan:
    return make_plan(ask, n=1, temperature=1.0, checkpoint_tokens=None, profile=profile)


def quality(candidate: Traced) -> float:
    """Gold where it is known, else the reward."""
    return candidate.reward if math.isnan(candidate.gold) else candidate.gold


def _answers(prompt: TracedPrompt, plan: Plan, timing: Timing, *, draws: int, seed: int) -> list[_Answer]:
    """The same draws for every strategy."""
    generator = random.Random(f"replay-{seed}")
    answers = []
    for _ in range(draws):
        drawn = generator.sample(prompt.candidates, plan.best_of)
        outcome = simulate(drawn, plan.strategy, timing, whole_first=plan.incomplete != "allow")
        chosen = select(
            outcome.candidates,
            1,
            plan.selection,
            seed=generator.getrandbits(32),
            min_reward=plan.min_reward,
            reward_std=plan.reward.std,
            whole_only=plan.incomplete == "never",
        ).selected
        answer = drawn[chosen[0]] if chosen else None
        worth = (math.nan, math.nan) if answer is None else (quality(answer), float(answer.tokens))
        answers.append((*worth, outcome))
    return answers


def _played(name: str, answers: Sequence[Sequence[_Answer]], prompts: Sequence[TracedPrompt]) -> Played:
    outcomes = [[outcome for *_, outcome in of_prompt] for of_prompt in answers]
    tokens = np.array([np.mean([outcome.tokens for outcome in of_prompt]) for of_prompt in outcomes])
    reasons = [outcome.stop_reason for of_prompt in outcomes for outcome in of_prompt]
    return Played(
        name=name,
        quality=np.array([_mean_of_known([value for value, *_ in of_prompt]) for of_prompt in answers]),
        tokens=tokens,
        sampled=np.array([np.mean([len(outcome.candidates) for outcome in of_prompt]) for of_prompt in outcomes]),
        returned=np.array([_mean_of_known([tokens for _, tokens, _ in of_prompt]) for of_prompt in answers]),
        latency_s=np.array([[outcome.latency_s for outcome in of_prompt] for of_prompt in outcomes]),
        equal_tokens=_at_equal_tokens(prompts, float(tokens.mean())),
        unanswered=float(np.mean([math.isnan(value) for of_prompt in answers for value, *_ in of_prompt])),
        stop_reasons={reason: reasons.count(reason) / len(reasons) for reason in sorted(set(reasons))},
    )


def _name(rerank: Mapping[str, Any]) -> str:
    knobs = ", ".join(f"{key} {json.dumps(value)}" for key, value in rerank.items() if key != "strategy")
    return " ".join([str(rerank.get("strategy", DEFAULT_STRATEGY)), knobs]).strip()


def _at_equal_tokens(prompts: Sequence[TracedPrompt], tokens: float) -> Floats:
    """Quality of plain best-of-n for each prompt, where n candidates cost so many tokens in the mean; n between two
    whole numbers is a lottery between them.
    """
    each = np.mean([np.mean([candidate.tokens for candidate in prompt.candidates]) for prompt in prompts])
    most = min(len(prompt.candidates) for prompt in prompts)
    n = min(max(1.0, tokens / float(each)), float(most))
    low, high = math.floor(n), math.ceil(n)
    curve = np.array(
        [
            best_of_each(
                [candidate.reward for candidate in prompt.candidates],
                [quality(candidate) for candidate in prompt.candidates],
                [low, high],
            )
            for prompt in prompts
        ]
    )
    mixed: Floats = curve[:, 0] + (n - low) * (curve[:, 1] - curve[:, 0])
    return mixed


def reward_config(prompts: Sequence[TracedPrompt]) -> RewardConfig:
    """Heads and normalisation of the reward model that scored a trace, from its rewards and those of its heads."""
    candidates = [candidate for prompt in prompts for candidate in prompt.candidates]
    heads = tuple(candidates[0].rewards)
    if not heads:
        return PLAIN
    raw = np.array([sum(candidate.rewards.values()) / len(heads) for candidate in candidates])
    std, mean = np.polyfit([candidate.reward for candidate in candidates], raw, 1)
    return RewardConfig(heads, float(mean), float(std))


def known(rows: Floats) -> Floats:
    """The rows without nan; one row of nan where that is none."""
    whole: Floats = rows[~np.isnan(rows).any(axis=1)]
    return whole if len(whole) else rows[:1]


def _mean_of_known(values: Sequence[float]) -> float:
    numbers = [value for value in values if not math.isnan(value)]
    return float(np.mean(numbers)) if numbers else math.nan


def _share_of_gain(sample: Floats) -> float:
    kept, plain, single = sample.mean(axis=0)
    return float((kept - single) / (plain - single)) if plain > single else math.nan
