"""`adaptive`: sample in waves, and stop when another candidate is not worth its price.

The expected improvement of the next candidate, under what the rewards so far say of this prompt (see `prior`), is
compared with a price in units of reward: Pandora's rule of Weitzman 1979 ("Optimal search for the best alternative"),
which Kalayci et al. 2025 ("Optimal Stopping vs Best-of-N for Inference Time Optimization") bring to best-of-N. Use it
where prompts differ in difficulty; where all are alike it can only lose, by its waves and by the noise of its guesses.

They ask for one candidate after another; here waves grow by half, for the sake of latency, and so the last one may hold
candidates that do not pay for themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from service.rerank.strategies.base import Action, Candidate, Event, Finished, Sample, Score, Stop
from service.rerank.strategies.prior import Prior


@dataclass(frozen=True)
class Adaptive:
    """best_of: candidates to sample at most. wave: the size of the first wave, and the least of a later one.

    price: reward that one more candidate must be expected to add. If it is, a wave follows: those that would each pay
    for themselves, no more than were sampled before it and at least half as many, so that a hard prompt does not take
    one small wave after the other. n: to return; while fewer have finished, more follow.
    """

    best_of: int
    wave: int
    price: float
    prior: Prior
    n: int = 1
    name: str = "adaptive"
    checkpoint_tokens: None = None
    alarm_s: None = None

    def start(self) -> Sequence[Action]:
        return [Sample(min(self.wave, self.best_of))]

    def decide(self, event: Event, candidates: Sequence[Candidate]) -> Sequence[Action]:
        if isinstance(event, Finished):
            return [Score(event.index)]
        if not all(candidate.settled for candidate in candidates):
            return []
        rewards = [candidate.reward for candidate in candidates if candidate.reward is not None]
        left = self.best_of - len(candidates)
        if left and sum(candidate.state == "finished" for candidate in candidates) < self.n:
            return [Sample(min(left, self.wave))]
        if not left or not rewards:
            return [Stop("complete")]
        gains = self.prior.gains(rewards, min(left, len(candidates)))
        worthwhile = sum(gain >= self.price for gain in gains)
        return [Sample(min(left, max(self.wave, len(candidates) // 2, worthwhile)))] if worthwhile else [Stop("price")]
