"""`adaptive`: sample in waves, and stop when another candidate is not worth its price.

The expected improvement of the next candidate, given the rewards of this prompt so far (see `prior`), is compared with
a price in units of reward: Pandora's rule of Weitzman 1979 ("Optimal search for the best alternative"), which Kalayci
et al. 2025 ("Optimal Stopping vs Best-of-N for Inference Time Optimization") bring to best-of-N. Use it where prompts
differ in difficulty; where all are alike it can only lose, by its waves and by the noise of its guesses.

They ask for one candidate after another; here waves grow by half, for the sake of latency, and so the last one may hold
candidates that do not pay for themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from service.rerank.strategies.base import Action, AskForScore, Candidate, Event, Finished, Sample, Stop
from service.rerank.strategies.knobs import Profiled, StrategyOptions, Terms
from service.rerank.strategies.prior import NORMAL_KINDS, Prior


class AdaptiveOptions(StrategyOptions):
    """Samples in waves, and stops when another candidate is not worth its price."""

    name: ClassVar[str] = "adaptive"
    reads_reward: ClassVar[bool] = True

    wave: Annotated[int, Profiled()] = Field(default=2, ge=1, description="Candidates of the first wave.")
    price: Annotated[float, Profiled()] = Field(
        default=0.1, gt=0, allow_inf_nan=False, description="Reward that one more candidate has to add."
    )
    prior: Annotated[Prior, Profiled(only=True)] = Field(
        default=NORMAL_KINDS, description="What rewards to expect of a prompt."
    )

    def make(self, terms: Terms) -> "Adaptive":
        """The first wave holds at least what is to be returned."""
        return Adaptive(terms.best_of, max(terms.n, self.wave), self.price, self.prior, terms.n)


@dataclass(frozen=True)
class Adaptive:
    """While another candidate pays for itself, a wave follows: those that would each pay for themselves, no more than
    were sampled before it and at least half as many, so that a hard prompt does not take one small wave after another.
    """

    best_of: int  # candidates to sample at most
    wave: int  # the size of the first wave, and the least of a later one
    price: float  # reward that one more candidate must be expected to add
    prior: Prior
    n: int = 1  # to return; while fewer have finished and contend, more follow
    name: str = AdaptiveOptions.name
    checkpoint_tokens: None = None
    alarm_s: None = None

    def start(self) -> Sequence[Action]:
        return [Sample(min(self.wave, self.best_of))]

    def decide(self, event: Event, candidates: Sequence[Candidate]) -> Sequence[Action]:
        if isinstance(event, Finished):
            return [AskForScore(event.index)]
        if not all(candidate.settled for candidate in candidates):
            return []
        rewards = [candidate.reward for candidate in candidates if candidate.contends and candidate.reward is not None]
        left = self.best_of - len(candidates)
        if left and sum(one.state == "finished" and not one.cut_off for one in candidates) < self.n:
            return [Sample(min(left, self.wave))]
        if not left or not rewards:
            return [Stop("complete")]
        gains = self.prior.gains(rewards, min(left, len(candidates)))
        worthwhile = sum(gain >= self.price for gain in gains)
        return [Sample(min(left, max(self.wave, len(candidates) // 2, worthwhile)))] if worthwhile else [Stop("price")]
