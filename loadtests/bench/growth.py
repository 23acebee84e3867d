"""`make bench-n`: how latency grows with N, ours with rewards beside plain vLLM's `n`, measured in turn in one run.

One request at a time, N = 1, 2, 4 ... 64, every answer of the same length. A server's growth is its latency at N over
its own at N = 1; ours samples, scores and selects where plain vLLM only samples. A round measures all N on both
servers, which of them first changes from round to round and from N to N. The ratio is the median over rounds with
their range.
"""

import asyncio
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from loadtests.bench import contenders
from loadtests.bench.overhead import Asked, asked

_SIZES = (1, 2, 4, 8, 16, 32, 64)
_ROUNDS = 4
_REQUESTS = 3
_GOAL = 1.2


@dataclass(frozen=True)
class Round:
    """Median seconds for each of `_SIZES`, ours and plain vLLM's."""

    ours_s: Sequence[float]
    plain_s: Sequence[float]

    def ratio(self, index: int) -> float:
        """Our growth over plain vLLM's."""
        return (self.ours_s[index] / self.ours_s[0]) / (self.plain_s[index] / self.plain_s[0])


async def main() -> None:
    """Measure and print one table."""
    async with asked(contenders.plain) as plain, asked(contenders.ours()) as ours:
        await _round(ours, plain, 0, requests=1)  # warms up
        rounds = [await _round(ours, plain, number, requests=_REQUESTS) for number in range(_ROUNDS)]
    Console(width=120).print(table(rounds))


def table(rounds: Sequence[Round]) -> Table:
    """A line for each N. rounds: at least one."""
    shown = Table(
        "N", "bestofn s", "plain n s", "growth", "plain growth", "ratio", "range", f"≤ {_GOAL}",
        title=f"{len(rounds)} rounds of {_REQUESTS} requests, {os.cpu_count()} cores",
    )  # fmt: skip
    for index, best_of in enumerate(_SIZES):
        ratios = [one.ratio(index) for one in rounds]
        ours_s = statistics.median(one.ours_s[index] for one in rounds)
        plain_s = statistics.median(one.plain_s[index] for one in rounds)
        growths = [
            statistics.median(one.ours_s[index] / one.ours_s[0] for one in rounds),
            statistics.median(one.plain_s[index] / one.plain_s[0] for one in rounds),
        ]
        ratio = statistics.median(ratios)
        shown.add_row(
            str(best_of),
            f"{ours_s:.3f}",
            f"{plain_s:.3f}",
            *(f"{growth:.2f}" for growth in growths),
            f"{ratio:.2f}",
            f"{min(ratios):.2f} - {max(ratios):.2f}",
            "yes" if ratio <= _GOAL else "no",
        )
    return shown


async def _round(ours: Asked, plain: Asked, number: int, *, requests: int) -> Round:
    ours_s: list[float] = []
    plain_s: list[float] = []
    for index, best_of in enumerate(_SIZES):
        sides = [(ours, "best_of", ours_s), (plain, "n", plain_s)]
        for side, field, medians in sides if (number + index) % 2 else reversed(sides):
            medians.append(statistics.median((await side.load({field: best_of}, requests)).latencies_s))
    return Round(ours_s, plain_s)


if __name__ == "__main__":
    asyncio.run(main())
