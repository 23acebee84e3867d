"""Strategies decide how candidates are sampled, scored, aborted and when to stop: events in, actions out.

One strategy is one file: its options, with bounds, help and defaults, and its behaviour. A new one touches its file and
the list `STRATEGIES`. The vocabulary between a strategy and whatever runs it is in `base`.
"""

from service.rerank.strategies.adaptive import AdaptiveOptions
from service.rerank.strategies.base import Candidate, Strategy
from service.rerank.strategies.best_of_n import BestOfNOptions
from service.rerank.strategies.greedy import GreedyOptions
from service.rerank.strategies.knobs import StrategyOptions, Terms
from service.rerank.strategies.prune import PruneOptions

STRATEGIES: tuple[type[StrategyOptions], ...] = (BestOfNOptions, PruneOptions, AdaptiveOptions, GreedyOptions)

__all__ = ["STRATEGIES", "Candidate", "Strategy", "StrategyOptions", "Terms"]
