"""Which candidates to return, best first. Pure: candidates in, indices and weights out.

A utility for each scored candidate (`utility`), then a pick among the candidates (`pick`); each is chosen on its own.
"""

from service.rerank.selection.choice import Choice, select
from service.rerank.selection.method import ARGMAX, Answer, Heads, Pick, Selection

__all__ = ["ARGMAX", "Answer", "Choice", "Heads", "Pick", "Selection", "select"]
