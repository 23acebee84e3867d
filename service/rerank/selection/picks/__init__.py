"""Picks: from what the candidates are worth to the order in which they are returned.

One pick is one file: its knobs, with bounds, help and defaults, and its behaviour. A new one touches its file and the
list `PICKS`.
"""

from service.rerank.selection.picks.argmax import Argmax
from service.rerank.selection.picks.base import Measure, Pick, Ranking
from service.rerank.selection.picks.likelihood import Likelihood
from service.rerank.selection.picks.majority import Majority
from service.rerank.selection.picks.pessimistic import Pessimistic
from service.rerank.selection.picks.self_certainty import SelfCertainty
from service.rerank.selection.picks.shortest import Shortest
from service.rerank.selection.picks.soft import Soft
from service.rerank.selection.picks.uniform import Uniform
from service.rerank.selection.picks.weighted_vote import WeightedVote

PICKS: tuple[type[Pick], ...] = (
    Argmax,
    Soft,
    Pessimistic,
    Majority,
    WeightedVote,
    Likelihood,
    SelfCertainty,
    Shortest,
    Uniform,
)

__all__ = [
    "PICKS",
    "Argmax",
    "Likelihood",
    "Majority",
    "Measure",
    "Pessimistic",
    "Pick",
    "Ranking",
    "SelfCertainty",
    "Shortest",
    "Soft",
    "Uniform",
    "WeightedVote",
]
