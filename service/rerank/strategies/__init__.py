"""Strategies decide how candidates are sampled, scored, aborted and when to stop: events in, actions out."""

from service.rerank.strategies.adaptive import Adaptive
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
from service.rerank.strategies.best_of_n import BestOfN
from service.rerank.strategies.first_finished import FirstFinished
from service.rerank.strategies.limited import Limited
from service.rerank.strategies.pass_on import PassOn
from service.rerank.strategies.prior import NORMAL_KINDS, Prior
from service.rerank.strategies.prune import Prune

__all__ = [
    "NORMAL_KINDS",
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
    "PassOn",
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
    "next_finish_rank",
]
