"""`prune`: score growing candidates at checkpoints and abort those that are behind (speculative rejection).

Sun et al. 2024 ("Fast Best-of-N Decoding via Speculative Rejection", section 3): the reward of a prefix says something
about the reward of the whole, so most candidates need not be finished. Use it where a reward model that was trained on
prefixes ranks them well (`bestofn replay` shows how well); with one that was not, the best are thrown away early.

They prune when memory runs out and wait for every candidate at each cut. Here a candidate is aborted as soon as enough
others are ahead of it at the same length: that can only become truer, so nobody waits, and the same ones are left.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from service.strategies.base import (
    Abort,
    Action,
    Candidate,
    Commit,
    Event,
    Finished,
    Progress,
    Sample,
    Score,
    Scored,
    Stop,
)


@dataclass(frozen=True)
class Prune:
    """best_of: candidates to sample. n: to return; no fewer are left.

    checkpoint_tokens: tokens between two checkpoints. keep: the share of those left that each checkpoint keeps; the
    last one holds for all that follow. live: commit to a last one that is left, so that it is passed on as it grows.
    """

    best_of: int
    checkpoint_tokens: int
    keep: tuple[float, ...]
    n: int = 1
    live: bool = True
    name: str = "prune"
    alarm_s: None = None

    def start(self) -> Sequence[Action]:
        return [Sample(self.best_of)]

    def decide(self, event: Event, candidates: Sequence[Candidate]) -> Sequence[Action]:
        if isinstance(event, Finished):
            return [Score(event.index)]
        alive = [candidate for candidate in candidates if candidate.state in ("running", "finished")]
        if isinstance(event, Progress):
            decided = len(alive) <= self.n
            return [] if decided or candidates[event.index].scores_pending else [Score(event.index)]
        if all(candidate.settled for candidate in candidates):
            return [Stop("complete")]
        if self.live and len(alive) == 1 and alive[0].state == "running":
            return [Commit(alive[0].index)]
        return [Abort(index) for index in self._late(candidates, alive)] if isinstance(event, Scored) else []

    def places(self, checkpoint: int) -> int:
        """How many candidates are left after a checkpoint, counted from 1."""
        shares = [*self.keep[:checkpoint], *[self.keep[-1]] * (checkpoint - len(self.keep))]
        return max(self.n, math.ceil(self.best_of * math.prod(shares) - 1e-9))

    def _late(self, candidates: Sequence[Candidate], alive: Sequence[Candidate]) -> Sequence[int]:
        """The running ones to abort, worst first; where others have failed, as many are spared as are to be returned.

        What was decided before comes out again, from the same rewards: an aborted one competes up to the checkpoint
        that it was lost at, so that a reward that comes late changes nothing.
        """
        behind: list[Candidate] = []
        farthest = max((length for candidate in alive for length, _ in candidate.prefix_rewards), default=0)
        rest = [candidate for candidate in candidates if candidate.state != "failed"]
        for checkpoint in range(1, farthest // self.checkpoint_tokens + 1):
            order = _ranking(rest, checkpoint * self.checkpoint_tokens)
            lost = [candidate for candidate in order[self.places(checkpoint) :] if candidate.state != "finished"]
            behind += reversed(lost)
            gone = {candidate.index for candidate in lost}
            rest = [candidate for candidate in rest if candidate.index not in gone]
        running = [candidate.index for candidate in behind if candidate.state == "running"]
        return running[: max(0, len(alive) - self.n)]


def _ranking(candidates: Sequence[Candidate], tokens: int) -> list[Candidate]:
    """Those that were scored at this length, best first; of equal ones the earlier."""
    there = [(-reward, c.index, c) for c in candidates if (reward := c.reward_at(tokens)) is not None]
    return [candidate for _, _, candidate in sorted(there)]
