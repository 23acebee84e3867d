"""Picks: from what the candidates are worth to the order in which they are returned.

One pick is one file: its knobs, with bounds, help and defaults, and its behaviour. A new one touches its file and the
list `PICKS`.
"""

from service.rerank.selection.picks.argmax import Argmax
from service.rerank.selection.picks.base import Pick, Ranking
from service.rerank.selection.picks.majority import Majority
from service.rerank.selection.picks.pessimistic import Pessimistic
from service.rerank.selection.picks.soft import Soft
from service.rerank.selection.picks.weighted_vote import WeightedVote

PICKS: tuple[type[Pick], ...] = (Argmax, Soft, Pessimistic, Majority, WeightedVote)

__all__ = ["PICKS", "Argmax", "Majority", "Pessimistic", "Pick", "Ranking", "Soft", "WeightedVote"]
