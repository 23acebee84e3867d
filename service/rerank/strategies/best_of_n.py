"""Plain best-of-N: sample N candidates at once, score each as it finishes, stop when all are settled.

Stiennon et al. 2020 ("Learning to summarize from human feedback", section 4.3) and Nakano et al. 2021 (WebGPT,
section 3.2, "rejection sampling"). KL(best-of-N || base) <= log N - (N - 1)/N (Beirami et al. 2024).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from service.rerank.strategies.base import Action, Candidate, Event, Finished, Progress, Sample, Score, Stop


@dataclass(frozen=True)
class BestOfN:
    """best_of: candidates to sample.

    checkpoint_tokens: also score each growing candidate every so many tokens. It decides nothing; it puts the
    prefix into the reward engine's cache, so that after the last token only a tail is left to compute. None: never.
    """

    best_of: int
    checkpoint_tokens: int | None = None
    name: str = "best_of_n"
    alarm_s: None = None

    def start(self) -> Sequence[Action]:
        return [Sample(self.best_of)]

    def decide(self, event: Event, candidates: Sequence[Candidate]) -> Sequence[Action]:
        if isinstance(event, Finished):
            return [Score(event.index)]
        if isinstance(event, Progress):
            return [] if candidates[event.index].scores_pending else [Score(event.index)]
        if all(candidate.settled for candidate in candidates):
            return [Stop("complete")]
        return []
