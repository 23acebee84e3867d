"""Which candidates to return, best first. Pure: candidates in, indices and weights out.

What each scored candidate is worth (`heads`, `length`), then a pick among the candidates (`picks`); each is chosen on
its own.
"""

from service.rerank.selection.choice import Choice, select
from service.rerank.selection.heads import HEADS, Heads
from service.rerank.selection.method import ARGMAX, FREE, Selection
from service.rerank.selection.picks import PICKS, Pick

__all__ = ["ARGMAX", "FREE", "HEADS", "PICKS", "Choice", "Heads", "Pick", "Selection", "select"]
