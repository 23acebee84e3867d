"""`greedy`: one answer, at temperature 0. The baseline that costs nothing: measure it before anything is reranked."""

from typing import ClassVar

from service.rerank.strategies.best_of_n import BestOfN
from service.rerank.strategies.knobs import StrategyOptions, Terms


class GreedyOptions(StrategyOptions):
    """Returns one answer at temperature 0, whatever the temperature and N of the request."""

    name: ClassVar[str] = "greedy"

    def make(self, terms: Terms) -> BestOfN:
        return BestOfN(terms.best_of, name=self.name, scored=terms.scored)
