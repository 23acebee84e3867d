"""What a request costs, in dollars, from its tokens or from its share of the machine's time. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from service.rerank.ledger import Ledger, count_busy_s, count_tokens

_HOUR_S = 3600
_MILLION = 10**6


class Prices(Protocol):
    """Turns work into money."""

    def cost(self, ledgers: Sequence[Ledger]) -> dict[str, float]:
        """Dollars by part."""

    def idle(self, idle_s: float) -> float:
        """Dollars for seconds in which nothing was at work."""


@dataclass(frozen=True)
class HourlyPrice:
    """dollars: for an hour of everything the server runs on, at work or not. Requests share it as `BusyMeter` says."""

    dollars: float

    def cost(self, ledgers: Sequence[Ledger]) -> dict[str, float]:
        return {work: self.dollars * busy_s / _HOUR_S for work, busy_s in count_busy_s(ledgers).items()}

    def idle(self, idle_s: float) -> float:
        return self.dollars * idle_s / _HOUR_S


@dataclass(frozen=True)
class TokenPrices:
    """Dollars per million tokens that were computed; what a prefix cache already held costs nothing."""

    prompt: float = 0.0
    generated: float = 0.0
    scored: float = 0.0

    def cost(self, ledgers: Sequence[Ledger]) -> dict[str, float]:
        tokens = count_tokens(ledgers)
        return {
            "prompt": self.prompt * (tokens.prompt - tokens.cached_prompt) / _MILLION,
            "generate": self.generated * tokens.generated / _MILLION,
            "score": self.scored * (tokens.scored - tokens.scored_cached) / _MILLION,
        }

    def idle(self, idle_s: float) -> float:
        return 0.0
