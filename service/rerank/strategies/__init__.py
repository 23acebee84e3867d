"""Strategies decide how candidates are sampled, scored, aborted and when to stop: events in, actions out.

One strategy is one file: its options, with bounds, help and defaults, and its behaviour. A new one touches its file and
the list `STRATEGIES`. The vocabulary between a strategy and whatever runs it is in `base`.
"""

from service.rerank.strategies.adaptive import Adaptive, AdaptiveOptions
from service.rerank.strategies.base import (
    Abort,
    Aborted,
    Action,
    Candidate,
    Clock,
    Commit,
    Event,
    Failed,
    Finished,
    Progress,
    RewardLost,
    Sample,
    Score,
    Scored,
    State,
    Stop,
    Strategy,
    next_finish_rank,
)
from service.rerank.strategies.best_of_n import BestOfN, BestOfNOptions
from service.rerank.strategies.first_finished import FirstFinished
from service.rerank.strategies.knobs import StrategyOptions, Terms
from service.rerank.strategies.limited import Limited
from service.rerank.strategies.prior import NORMAL_KINDS, Prior
from service.rerank.strategies.prune import Prune, PruneOptions

STRATEGIES: tuple[type[StrategyOptions], ...] = (BestOfNOptions, PruneOptions, AdaptiveOptions)

__all__ = [
    "NORMAL_KINDS",
    "STRATEGIES",
    "Abort",
    "Aborted",
    "Action",
    "Adaptive",
    "BestOfN",
    "Candidate",
    "Clock",
    "Commit",
    "Event",
    "Failed",
    "Finished",
    "FirstFinished",
    "Limited",
    "Prior",
    "Progress",
    "Prune",
    "RewardLost",
    "Sample",
    "Score",
    "Scored",
    "State",
    "Stop",
    "Strategy",
    "StrategyOptions",
    "Terms",
    "next_finish_rank",
]
