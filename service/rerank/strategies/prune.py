"""`prune`: score growing candidates at checkpoints and abort those that are behind (speculative rejection).

Sun et al. 2024 ("Fast Best-of-N Decoding via Speculative Rejection", section 3): the reward of a prefix predicts a
part of the reward of the whole, so most candidates need not be finished. Use it where a reward model that was trained
on prefixes ranks them well (`bestofn replay` shows how well); with one that was not, the best are thrown away early.

They prune when memory runs out and wait for every candidate at each cut. Here a candidate is aborted as soon as enough
others are ahead of it at the same length: that can only become truer, so nobody waits. Where candidates keep step, as
in one batch, the same ones are left as by waiting, in whatever order the scores of a checkpoint arrive.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from service.rerank.strategies.base import (
    Abort,
    Action,
    AskForScore,
    Candidate,
    Commit,
    Event,
    Finished,
    Progress,
    Sample,
    Scored,
    Stop,
)
from service.rerank.strategies.knobs import MOST_TOKENS, Profiled, StrategyOptions, Terms

Share = Annotated[float, Field(gt=0, le=1)]


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, int | float) else value


class PruneOptions(StrategyOptions):
    """Scores growing candidates at checkpoints and aborts those that are behind."""

    name: ClassVar[str] = "prune"
    reads_prefixes: ClassVar[bool] = True

    checkpoint_tokens: Annotated[int, Profiled()] = Field(
        default=16, ge=1, le=MOST_TOKENS, description="Tokens between two checkpoints."
    )
    keep: Annotated[list[Share], BeforeValidator(_listed), Profiled()] = Field(
        default=[0.5],
        min_length=1,
        max_length=1024,
        description="The share that each checkpoint keeps: one for all, or a list whose last holds on.",
    )

    def make(self, terms: Terms) -> "Prune":
        return Prune(terms.best_of, self.checkpoint_tokens, tuple(self.keep), terms.n, terms.may_commit)


@dataclass(frozen=True)
class Prune:
    """Aborts whoever has no place at a checkpoint; see above for the rule."""

    best_of: int  # candidates to sample
    checkpoint_tokens: int  # between two checkpoints
    keep: tuple[float, ...]  # share of those left that each checkpoint keeps; the last holds for all that follow
    n: int = 1  # to return; no fewer are left
    live: bool = True  # commit to a last one that is left, so that it is passed on as it grows
    name: str = PruneOptions.name
    alarm_s: None = None

    def start(self) -> Sequence[Action]:
        return [Sample(self.best_of)]

    def decide(self, event: Event, candidates: Sequence[Candidate]) -> Sequence[Action]:
        if isinstance(event, Finished):
            return [AskForScore(event.index)]
        if isinstance(event, Progress):
            grown = candidates[event.index]
            busy = grown.aborting or grown.scores_pending
            return [] if busy or not self._spare(candidates) else [AskForScore(event.index)]
        if isinstance(event, Scored) and (late := self._late(candidates[event.index], candidates)):
            return [Abort(index) for index in late]
        if all(candidate.settled for candidate in candidates):
            return [Stop("complete")]
        left = [candidate for candidate in candidates if candidate.state in ("running", "finished")]
        alone = self.live and len(left) == 1 and left[0].state == "running"
        return [Commit(left[0].index)] if alone and left[0].alive else []

    def places(self, checkpoint: int) -> int:
        """How many candidates are left after a checkpoint, counted from 1."""
        share = math.prod(self.keep[:checkpoint]) * self.keep[-1] ** max(0, checkpoint - len(self.keep))
        return max(self.n, math.ceil(self.best_of * share - 1e-9))

    def _spare(self, candidates: Sequence[Candidate]) -> int:
        """How many may be aborted."""
        return max(0, len([None for candidate in candidates if candidate.alive and not candidate.cut_off]) - self.n)

    def _late(self, scored: Candidate, candidates: Sequence[Candidate]) -> list[int]:
        """The running ones that are behind at the checkpoints that the last score of `scored` bears on, worst first.

        Whoever was scored at a length competes there, aborted since or not, unless it failed or was cut off.
        """
        behind: list[int] = []
        spare = self._spare(candidates)
        for checkpoint in self._reached_by(scored, candidates) if spare else ():
            places = self.places(checkpoint)
            if places < len(candidates):
                behind += _behind(candidates, checkpoint * self.checkpoint_tokens, places)
        return [index for index in dict.fromkeys(behind) if _runs(candidates[index])][:spare]

    def _reached_by(self, scored: Candidate, candidates: Sequence[Candidate]) -> range:
        """Checkpoints that only its last score has come to; of a finished one all that others have come to."""
        lengths = [length for length, _ in scored.prefix_rewards[-2:]]
        first = lengths[0] // self.checkpoint_tokens + 1 if len(lengths) > 1 else 1
        if scored.state == "finished":
            lengths = [c.prefix_rewards[-1][0] for c in candidates if c.prefix_rewards and c.alive]
        return range(first, max(lengths, default=0) // self.checkpoint_tokens + 1)


def _behind(candidates: Sequence[Candidate], tokens: int, places: int) -> list[int]:
    """Those for whom there is no place among those scored at this length, worst first; of equal ones the later."""
    there = [
        (-reward, candidate.index)
        for candidate in candidates
        if (reward := candidate.reward_at(tokens)) is not None and candidate.state != "failed" and not candidate.cut_off
    ]
    return [index for _, index in sorted(there)[: places - 1 : -1]] if len(there) > places else []


def _runs(candidate: Candidate) -> bool:
    return candidate.alive and candidate.state == "running"
