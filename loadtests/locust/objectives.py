"""Service level objectives of a load test: limits given on the command line, and which of them were missed. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_P95 = re.compile(r"(?:(?P<best_of>[1-9]\d*):)?(?P<ms>\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class LatencyLimit:
    """95 % of the answers to requests with this N are to be complete within `p95_ms`."""

    best_of: int | None  # None: of all requests
    p95_ms: float

    @classmethod
    def parse(cls, text: str) -> "LatencyLimit":
        """`800`, or `8:800` for best_of = 8. Raises ValueError."""
        match = _P95.fullmatch(text.strip())
        if not match or float(match["ms"]) <= 0:
            raise ValueError(f"expected milliseconds, or N:milliseconds, as in 800 or 8:800, not {text!r}")
        return cls(int(match["best_of"]) if match["best_of"] else None, float(match["ms"]))


@dataclass(frozen=True)
class Objectives:
    """Limits; None where there is none. Shares are of all requests that were answered in any way, 0 to 1."""

    latency: Sequence[LatencyLimit] = ()
    error_rate: float | None = None
    refusal_rate: float | None = None

    def __bool__(self) -> bool:
        return bool(self.latency) or self.error_rate is not None or self.refusal_rate is not None


@dataclass(frozen=True)
class Seen:
    """What a load test saw."""

    answered: int  # with 200
    failed: int
    refused: int  # with 429
    p95_ms: Mapping[int | None, float]  # of the requests answered, by N, and of all under None

    @property
    def total(self) -> int:
        return self.answered + self.failed + self.refused


def missed(objectives: Objectives, seen: Seen) -> list[str]:
    """One line for each limit that was not kept. A limit on something that never happened is missed too."""
    lines = [line for limit in objectives.latency if (line := _late(limit, seen))]
    for what, limit, count in (
        ("errors", objectives.error_rate, seen.failed),
        ("refusals (429)", objectives.refusal_rate, seen.refused),
    ):
        if limit is not None and (not seen.total or count / seen.total > limit):
            share = f"{count} of {seen.total} requests"
            lines.append(f"{what}: {share}, the limit is {limit:.2%}")
    return lines


def _late(limit: LatencyLimit, seen: Seen) -> str | None:
    of = "all requests" if limit.best_of is None else f"best_of={limit.best_of}"
    if limit.best_of not in seen.p95_ms:
        return f"p95 of {of}: there was no answer to measure"
    p95_ms = seen.p95_ms[limit.best_of]
    return f"p95 of {of}: {p95_ms:g} ms, the limit is {limit.p95_ms:g} ms" if p95_ms > limit.p95_ms else None
