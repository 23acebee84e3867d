"""Ways to read the heads of a reward model: what each scored candidate is worth, made harder to fool.

One way is one file: its knobs, with bounds, help and defaults, and its behaviour. A new one touches its file and the
list `HEADS`.
"""

from service.rerank.selection.heads.base import Heads
from service.rerank.selection.heads.mean import Mean
from service.rerank.selection.heads.variance import Variance
from service.rerank.selection.heads.worst import Worst

HEADS: tuple[type[Heads], ...] = (Mean, Worst, Variance)

__all__ = ["HEADS", "Heads", "Mean", "Variance", "Worst"]
