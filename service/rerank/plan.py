"""From what a client asks to what will be done for one prompt. Pure.

How many candidates there are is decided here and nowhere else: whoever reports N reads `Plan.best_of`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from reward.config import PLAIN, RewardConfig, weigh
from reward.scorer import Score
from service.rerank.options import Incomplete, RerankOptions
from service.rerank.request import Ask, Reason
from service.rerank.selection import ARGMAX, Choice, Selection, select
from service.rerank.strategies import Candidate, Strategy, Terms
from service.rerank.strategies.base import Quantity
from service.rerank.strategies.best_of_n import BestOfN
from service.rerank.strategies.limited import Limited
from service.rerank.strategies.pass_on import PassOn
from service.rerank.strategies.profile import DEFAULTS, StrategyProfile


@dataclass(frozen=True)
class Plan:
    """What will be done for one prompt."""

    best_of: int  # candidates to sample
    n: int  # to return
    ranked: bool  # something is chosen among them, or their rewards are asked for
    strategy: Strategy
    scored: bool = True  # of what is ranked: the reward model is asked about it
    quantities: frozenset[Quantity] = frozenset()  # that the engine has to report of each candidate
    include_greedy: bool = False  # candidate 0 is the answer at temperature 0
    asked_best_of: int | None = None  # by the client or the server's default, where there are fewer
    fewer_because: Reason | None = None
    selection: Selection = ARGMAX
    seed: int = 0  # of a selection that draws
    min_reward: float | None = None
    incomplete: Incomplete = "allow"  # what becomes of answers that were cut off
    reward: RewardConfig = PLAIN  # what the checkpoint records about itself
    reward_weights: Mapping[str, float] = field(default_factory=dict)  # of its heads; empty: as the checkpoint has it

    @property
    def waits_for_all(self) -> bool:
        """Nothing ends a candidate before its time, so the rewards of all are a fair sample of the policy's."""
        return isinstance(self.strategy, BestOfN | PassOn) and not self.include_greedy

    @property
    def passes_on(self) -> bool:
        """Nothing is chosen: all that is sampled is returned."""
        return isinstance(self.strategy, PassOn)

    @property
    def least(self) -> int:
        """Answers that must be there: one of those to choose from, or all where nothing is chosen."""
        return self.n if self.passes_on else 1

    def choose(self, candidates: Sequence[Candidate], *, unranked: bool = False) -> Choice:
        """What is returned, best first; where nothing is chosen, whatever the engine has ended, by index.

        unranked: rewards do not count, so that of what has finished the first by index is returned: whoever asks for
        the first to finish asks for the shortest.
        """
        if self.passes_on:
            return Choice(tuple(one.index for one in candidates if one.finish_reason is not None))
        if unranked and self.min_reward is None:
            finished = [one for one in candidates if one.state == "finished" and self.takes(one)]
            return Choice(tuple(one.index for one in sorted(finished, key=lambda one: one.cut_off)[: self.n]))
        return select(
            candidates,
            self.n,
            self.selection,
            seed=self.seed,
            reward_std=self.reward.std,
            min_reward=self.min_reward,
            whole_only=self.incomplete == "never",
        )

    def takes(self, candidate: Candidate) -> bool:
        """Such a candidate may be returned."""
        return self.incomplete != "never" or not candidate.cut_off

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
    spent_s: float = 0.0,
    whole: bool = False,
) -> Plan:
    """n and temperature: as vLLM resolved them, with the model's generation defaults. seed: of a selection that draws.
    whole: an answer that was cut off is worth nothing, so it never comes before one that ended by itself.

    spent_s: since the request came, which its deadline counts from.

    checkpoint_tokens: of `BestOfN`, where the request does not say. At temperature 0 all candidates would be equal, so
    only as many are sampled as are returned.
    """
    greedy = temperature == 0 and ask.asked_best_of > n
    best_of = n if greedy else max(ask.best_of, n)
    ranked = ask.wants_reward or (best_of > 1 and (best_of > n or ask.explicit))
    scored = ranked and _is_scored(ask)
    if _passes_on(ask, best_of, n, ranked=ranked):
        strategy: Strategy = PassOn(n, ask.options.strategy.name, scored=scored)
    else:
        strategy = _strategy(ask.options, best_of, n, checkpoint_tokens, profile, spent_s, scored=scored)
    return Plan(
        best_of=best_of,
        n=n,
        ranked=ranked,
        strategy=strategy,
        scored=scored,
        quantities=_quantities(ask, scored=scored) if ranked and best_of > 1 else frozenset(),
        include_greedy=ask.options.include_greedy and best_of > n,
        asked_best_of=ask.asked_best_of if best_of < ask.asked_best_of else None,
        fewer_because="greedy" if greedy else ask.fewer_because,
        selection=ask.selection,
        seed=seed,
        min_reward=ask.options.min_reward,
        incomplete="last" if whole and ask.options.incomplete == "allow" else ask.options.incomplete,
        reward=ask.reward,
        reward_weights=ask.options.reward_weights or {},
    )


def _is_scored(ask: Ask) -> bool:
    """A free pick is no dearer for a reward model that happens to be served."""
    wanted = ask.selection.pick.reads_reward or ask.options.trace or bool(ask.options.reading_reward)
    return ask.has_reward_model and wanted


def _quantities(ask: Ask, *, scored: bool) -> frozenset[Quantity]:
    """What the choice reads; a trace has all, so that any choice can be replayed."""
    if ask.options.trace:
        return frozenset({"logprob", "self_certainty"})
    return ask.selection.quantities(scored=scored)


def _passes_on(ask: Ask, best_of: int, n: int, *, ranked: bool) -> bool:
    """No candidate has to wait for another, and nothing may refuse or end it."""
    options = ask.options
    unchecked = options.min_reward is None and options.deadline_ms is None and not options.trace
    return best_of == n and (n == 1 or not ranked) and unchecked and options.incomplete != "never"


def _strategy(
    options: RerankOptions,
    best_of: int,
    n: int,
    checkpoint_tokens: int | None,
    profile: StrategyProfile,
    spent_s: float,
    *,
    scored: bool,
) -> Strategy:
    """The one that is asked for, within the request's limits."""
    may_refuse = options.min_reward is not None or options.incomplete == "never"
    may_commit = n == 1 and options.deadline_ms is None and not may_refuse
    strategy = profile.complete(options.strategy).make(Terms(best_of, n, may_commit, checkpoint_tokens, scored))
    if not options.limited:
        return strategy
    alarm_s = None if options.deadline_ms is None else max(options.deadline_ms / 1000 - spent_s, 0.0)
    return Limited(strategy, alarm_s, options.stop_after, options.target_reward, n, scored)
