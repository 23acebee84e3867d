"""From what a client asks to what will be done for one prompt. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from reward.config import PLAIN, RewardConfig, weigh
from reward.scorer import Score
from service.rerank.request import Ask
from service.rerank.selection import ARGMAX, Selection
from service.rerank.strategies import Strategy, Terms
from service.rerank.strategies.best_of_n import BestOfN
from service.rerank.strategies.limited import Limited
from service.rerank.strategies.profile import DEFAULTS, StrategyProfile


@dataclass(frozen=True)
class Plan:
    """best_of: candidates to sample. n: to return. ranked: whether they are scored and sorted at all.

    selection, min_reward: how to choose; seed: of its draws. reward: what the reward model says of itself.
    reward_weights: of its heads; empty for the reward as the checkpoint has it. traced: how candidates grow is noted.

    live: candidates are passed on while they grow, since none has to wait for another.
    """

    best_of: int
    n: int
    ranked: bool
    strategy: Strategy
    selection: Selection = ARGMAX
    seed: int = 0
    min_reward: float | None = None
    reward: RewardConfig = PLAIN
    reward_weights: Mapping[str, float] = field(default_factory=dict)
    traced: bool = False

    @property
    def live(self) -> bool:
        unsorted = self.n == 1 or not self.ranked
        unchecked = self.min_reward is None and self.strategy.alarm_s is None
        return self.best_of == self.n and unsorted and unchecked and not self.traced

    @property
    def waits_for_all(self) -> bool:
        """Nothing ends a candidate before its time, so the rewards of all are a fair sample of the policy's."""
        return isinstance(self.strategy, BestOfN)

    def reward_of(self, score: Score) -> float:
        """What ranks a candidate of this score."""
        return weigh(score.rewards, self.reward_weights, self.reward) if self.reward_weights else score.reward


def make_plan(
    ask: Ask,
    *,
    n: int,
    temperature: float,
    checkpoint_tokens: int | None,
    profile: StrategyProfile = DEFAULTS,
    seed: int = 0,
) -> Plan:
    """n and temperature: as vLLM resolved them, with the model's generation defaults. seed: of a selection that draws.

    checkpoint_tokens: of `BestOfN`, where the request does not say. At temperature 0 all candidates would be equal, so
    only as many are sampled as are returned.
    """
    best_of = n if temperature == 0 else max(ask.best_of, n)
    options = ask.options
    may_commit = n == 1 and options.deadline_ms is None and options.min_reward is None
    strategy = profile.complete(options.strategy).make(Terms(best_of, n, may_commit, checkpoint_tokens))
    if options.limited:
        alarm_s = None if options.deadline_ms is None else options.deadline_ms / 1000
        strategy = Limited(strategy, alarm_s, options.stop_after, options.target_reward, n)
    ranked = ask.wants_reward or (best_of > 1 and (best_of > n or ask.explicit))
    return Plan(
        best_of=best_of,
        n=n,
        ranked=ranked,
        strategy=strategy,
        selection=ask.selection,
        seed=seed,
        min_reward=ask.options.min_reward,
        reward=ask.reward,
        reward_weights=ask.options.reward_weights or {},
        traced=options.trace,
    )
