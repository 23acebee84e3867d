"""A sweep's figures for each N and number of clients, with intervals. Pure."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from loadtests.sweep.record import Cell, Request, SweepRecord
from measuring.estimators import Floats, Interval, bootstrap_draws, mean_interval, percentiles

_QUANTILES = (0.5, 0.95, 0.99)
_NONE = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class PlaceSummary:
    """One place of the grid, over its repeats. Only requests that succeeded count; without any, numbers are nan."""

    best_of: int
    clients: int
    repeats: int
    requests: int
    succeeded: int
    refused: int
    failed: int

    # Seconds, with 95 % intervals by bootstrap over requests.
    p50_s: Interval
    p95_s: Interval
    p99_s: Interval
    first_byte_p50_s: Interval

    # Means over repeats, with intervals by Student's t, which are infinitely wide with one repeat.
    requests_per_second: Interval
    generated_per_second: Interval

    # Of a request.
    generated: float  # tokens
    returned: float  # tokens
    reward: Interval | None  # None where the server gives none
    dollars: float | None  # None where the server knows no prices


def summarise(record: SweepRecord) -> list[PlaceSummary]:
    """One for each place of the grid that was measured, by N and then clients."""
    found = []
    for best_of, clients in sorted(record.settings.cells):
        cells = [cell for cell in record.cells if (cell.best_of, cell.clients) == (best_of, clients)]
        if cells:
            found.append(_summary(best_of, clients, cells))
    return found


def _summary(best_of: int, clients: int, cells: Sequence[Cell]) -> PlaceSummary:
    asked = [request for cell in cells for request in cell.requests]
    done = [request for request in asked if request.ok]
    refused = sum(request.refused for request in asked)
    rewards = [request.reward for request in done if request.reward is not None]
    prices = [request.dollars for request in done if request.dollars is not None]
    p50_s, p95_s, p99_s = _quantiles([request.latency_s for request in done], _QUANTILES)
    first_bytes = [request.first_byte_s for request in done if request.first_byte_s is not None]
    return PlaceSummary(
        best_of=best_of,
        clients=clients,
        repeats=len(cells),
        requests=len(asked),
        succeeded=len(done),
        refused=refused,
        failed=len(asked) - len(done) - refused,
        p50_s=p50_s,
        p95_s=p95_s,
        p99_s=p99_s,
        first_byte_p50_s=_quantiles(first_bytes, (0.5,))[0],
        requests_per_second=_rate(cells, len),
        generated_per_second=_rate(cells, lambda some: sum(request.generated_tokens for request in some)),
        generated=_mean([request.generated_tokens for request in done]),
        returned=_mean([request.returned_tokens for request in done]),
        reward=mean_interval(rewards) if rewards else None,
        dollars=_mean(prices) if prices else None,
    )


def _quantiles(seconds: Sequence[float], which: Sequence[float]) -> list[Interval]:
    """The quantiles with bootstrap intervals over requests, all from the same resamples."""
    if not seconds:
        return [_NONE] * len(which)

    def measure(sample: Floats) -> Floats:
        return np.asarray(np.quantile(sample, which), dtype=np.float64)

    values = np.array(seconds)
    draws = bootstrap_draws(values, measure, resamples=1000)
    estimates = measure(values)
    return [Interval(float(estimates[i]), *percentiles(draws[:, i])) for i in range(len(which))]


def _rate(cells: Sequence[Cell], count: Callable[[Sequence[Request]], float]) -> Interval:
    """The mean over repeats; a rate is not negative, however wide its interval."""
    mean = mean_interval([count(cell.succeeded) / cell.wall_s if cell.wall_s else 0.0 for cell in cells])
    return replace(mean, low=max(mean.low, 0.0))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
