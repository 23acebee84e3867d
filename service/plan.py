"""From what a client asks to what will be done for one prompt. Pure."""

from dataclasses import dataclass

from service.api import Ask
from service.strategies import BestOfN, Deadline, Strategy


@dataclass(frozen=True)
class Plan:
    """best_of: candidates to sample. n: to return. ranked: whether they are scored and sorted at all.

    live: candidates are passed on while they grow, since none has to wait for another.
    """

    best_of: int
    n: int
    ranked: bool
    strategy: Strategy

    @property
    def live(self) -> bool:
        unsorted = self.n == 1 or not self.ranked
        return self.best_of == self.n and unsorted and self.strategy.alarm_s is None


def make_plan(ask: Ask, *, n: int, temperature: float, checkpoint_tokens: int | None) -> Plan:
    """n and temperature: as vLLM resolved them, with the model's generation defaults.

    At temperature 0 all candidates would be equal, so only as many are sampled as are returned.
    """
    best_of = n if temperature == 0 else max(ask.best_of, n)
    strategy: Strategy = BestOfN(best_of, checkpoint_tokens)
    if ask.options.deadline_ms is not None:
        strategy = Deadline(strategy, ask.options.deadline_ms / 1000)
    ranked = ask.wants_reward or (best_of > 1 and (best_of > n or ask.explicit))
    return Plan(best_of=best_of, n=n, ranked=ranked, strategy=strategy)
