"""Plain best-of-N: sample N candidates at once, score each as it finishes, stop when all are settled.

Stiennon et al. 2020 ("Learning to summarize from human feedback", section 4.3) and Nakano et al. 2021 (WebGPT,
section 3.2, "rejection sampling"). KL(best-of-N || base) <= log N - (N - 1)/N (Beirami et al. 2024).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field

from service.rerank.strategies.base import Action, AskForScore, Candidate, Event, Finished, Progress, Sample, Stop
from service.rerank.strategies.knobs import MOST_TOKENS, StrategyOptions, Terms


class BestOfNOptions(StrategyOptions):
    """Samples all candidates at once and waits for the last."""

    name: ClassVar[str] = "best_of_n"

    checkpoint_tokens: int | None = Field(
        default=None,
        ge=1,
        le=MOST_TOKENS,
        description="Score growing candidates too, every so many tokens; by default as --prefix-score-tokens has it.",
    )

    def make(self, terms: Terms) -> "BestOfN":
        return BestOfN(terms.best_of, self.checkpoint_tokens or terms.prefix_score_tokens)


@dataclass(frozen=True)
class BestOfN:
    """Scores at checkpoints decide nothing: they put the prefix into the reward engine's cache, so that after the last
    token only a tail is left to compute.
    """

    best_of: int  # candidates to sample
    checkpoint_tokens: int | None = None  # tokens between two scores of a growing candidate; None: only the whole
    name: str = BestOfNOptions.name
    alarm_s: None = None

    def start(self) -> Sequence[Action]:
        return [Sample(self.best_of)]

    def decide(self, event: Event, candidates: Sequence[Candidate]) -> Sequence[Action]:
        if isinstance(event, Finished):
            return [AskForScore(event.index)]
        if isinstance(event, Progress):
            return [] if candidates[event.index].scores_pending else [AskForScore(event.index)]
        if all(candidate.settled for candidate in candidates):
            return [Stop("complete")]
        return []
