"""Strategies decide how candidates are sampled, scored, aborted and when to stop: events in, actions out."""

from service.strategies.base import (
    Abort,
    Aborted,
    Action,
    Candidate,
    Clock,
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
)
from service.strategies.best_of_n import BestOfN
from service.strategies.deadline import Deadline
from service.strategies.first_finished import FirstFinished

__all__ = [
    "Abort",
    "Aborted",
    "Action",
    "BestOfN",
    "Candidate",
    "Clock",
    "Deadline",
    "Event",
    "Failed",
    "Finished",
    "FirstFinished",
    "Progress",
    "RewardLost",
    "Sample",
    "Score",
    "Scored",
    "State",
    "Stop",
    "Strategy",
]
