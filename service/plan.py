"""From what a client asks to what will be done for one prompt. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from reward.config import PLAIN, RewardConfig, weigh
from reward.scorer import Score
from service.api import Ask
from service.selection import ARGMAX, Selection
from service.strategies import BestOfN, Deadline, Strategy


@dataclass(frozen=True)
class Plan:
    """best_of: candidates to sample. n: to return. ranked: whether they are scored and sorted at all.

    selection, min_reward: how to choose; seed: of its draws. reward: what the reward model says of itself.
    reward_weights: of its heads; empty for the reward as the checkpoint has it.

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

    @property
    def live(self) -> bool:
        unsorted = self.n == 1 or not self.ranked
        unchecked = self.min_reward is None and self.strategy.alarm_s is None
        return self.best_of == self.n and unsorted and unchecked

    def reward_of(self, score: Score) -> float:
        """What ranks a candidate of this score."""
        return weigh(score.rewards, self.reward_weights, self.reward) if self.reward_weights else score.reward


def make_plan(ask: Ask, *, n: int, temperature: float, checkpoint_tokens: int | None, seed: int = 0) -> Plan:
    """n and temperature: as vLLM resolved them, with the model's generation defaults. seed: of a selection that draws.

    At temperature 0 all candidates would be equal, so only as many are sampled as are returned.
    """
    best_of = n if temperature == 0 else max(ask.best_of, n)
    strategy: Strategy = BestOfN(best_of, checkpoint_tokens)
    if ask.options.deadline_ms is not None:
        strategy = Deadline(strategy, ask.options.deadline_ms / 1000)
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
    )
