"""Pictures of a sweep: what N costs in time, how much the server does, and where its tokens go."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from loadtests.sweep.summary import PlaceSummary
from measuring.estimators import Interval
from measuring.plots import GREY, PROXY, finish, intervals, over_sizes

_LINE_HEIGHT = 0.05  # of a name, as a share of the axes

Value = Callable[[PlaceSummary], Interval]


def all_of(rows: Sequence[PlaceSummary]) -> list[tuple[str, Figure]]:
    """Titles and pictures, in reading order. rows: at least one, each with answers."""
    return [
        ("Latency against N, for each number of clients", latency(rows)),
        ("Throughput against clients, for each N", throughput(rows)),
        ("What a request costs", cost(rows)),
    ]


def latency(rows: Sequence[PlaceSummary]) -> Figure:
    """p50 and p95 in seconds over N, both logarithmic: a doubling is one step either way."""
    figure = Figure(figsize=(12, 5.5), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    values: list[tuple[str, Value]] = [("p50", lambda row: row.p50_s), ("p95", lambda row: row.p95_s)]
    for axis, (name, value) in zip(axes, values, strict=True):
        _lines(axis, rows, "clients", "best_of", value)
        axis.set_yscale("log", base=2)
        axis.set_title(name, fontsize=15)
        axis.set_xlabel("N", fontsize=13)
        axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.3g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.yaxis.set_major_locator(LogLocator(base=2, numticks=12))
    for axis, (_, value) in zip(axes, values, strict=True):
        _name_lines(axis, rows, "clients", "best_of", value)
    axes[0].set_ylabel("seconds from sending to the last byte", fontsize=13)
    finish(*axes)
    return figure


def throughput(rows: Sequence[PlaceSummary]) -> Figure:
    """Requests and generated tokens a second over the number of clients."""
    figure = Figure(figsize=(12, 5.5), layout="constrained")
    axes = figure.subplots(1, 2)
    shown: list[tuple[str, Value]] = [
        ("requests answered a second", lambda row: row.requests_per_second),
        ("tokens generated a second", lambda row: row.generated_per_second),
    ]
    for axis, (name, value) in zip(axes, shown, strict=True):
        _lines(axis, rows, "best_of", "clients", value)
        highest = max(value(row).value for row in rows)
        axis.set_ylim(0, 1.3 * highest)  # with few repeats an interval can be far wider than what it is about
        axis.set_ylabel(name, fontsize=13)
        axis.set_xlabel("clients", fontsize=13)
        _name_lines(axis, rows, "best_of", "clients", value)
    finish(*axes)
    return figure


def cost(rows: Sequence[PlaceSummary]) -> Figure:
    """Tokens of a request over N, and dollars where the server knows prices; over all numbers of clients."""
    priced = [row for row in rows if row.dollars is not None]
    figure = Figure(figsize=(12 if priced else 7, 5), layout="constrained")
    axes: Sequence[Axes] = figure.subplots(1, 2 if priced else 1, squeeze=False)[0]
    sizes = sorted({row.best_of for row in rows})
    for name, colour, value in (
        ("generated", PROXY, lambda row: row.generated),
        ("returned", GREY, lambda row: row.returned),
    ):
        means = [_over_clients(rows, n, value) for n in sizes]
        axes[0].plot(sizes, means, "o-", color=colour, linewidth=2)
        _label(axes[0], sizes[-1], means[-1], name, colour)
    axes[0].set_ylabel("tokens of a request", fontsize=13)
    if priced:
        dollars = [_over_clients(priced, n, lambda row: 1000 * (row.dollars or 0.0)) for n in sizes]
        axes[1].plot(sizes, dollars, "o-", color=PROXY, linewidth=2)
        axes[1].set_ylabel("dollars for 1000 requests", fontsize=13)
    for axis in axes:
        _powers_of_two(axis, sizes)
        axis.set_ylim(bottom=0)
        axis.set_xlabel("N", fontsize=13)
    finish(*axes)
    return figure


def _lines(axis: Axes, rows: Sequence[PlaceSummary], by: str, along: str, value: Value) -> None:
    """A line for each value of the field `by`, over the field `along`."""
    for line, colour in _groups(rows, by):
        values = [_finite(value(row)) for row in line]
        intervals(axis, [getattr(row, along) for row in line], values, colour, "", "o-")
    _powers_of_two(axis, sorted({getattr(row, along) for row in rows}))


def _name_lines(axis: Axes, rows: Sequence[PlaceSummary], by: str, along: str, value: Value) -> None:
    """Each line's name beside its end, moved up where it would lie on another one. The limits must be final."""
    lowest = 0.0
    groups = sorted(_groups(rows, by), key=lambda group: value(group[0][-1]).value)
    for line, colour in groups:
        place, height = getattr(line[-1], along), value(line[-1]).value
        at = (axis.transScale + axis.transLimits).transform((place, height))  # shares of the axes
        lowest = max(lowest + _LINE_HEIGHT, float(at[1]))
        name = f"N = {line[0].best_of}" if by == "best_of" else _count(line[0].clients)
        axis.text(float(at[0]) + 0.02, lowest, name, color=colour, va="center", size=13, transform=axis.transAxes)


def _groups(rows: Sequence[PlaceSummary], by: str) -> list[tuple[list[PlaceSummary], str]]:
    """The rows of each value of the field `by`, and its colour: from dark to light as the number grows."""
    groups = sorted({getattr(row, by) for row in rows})
    shades = np.linspace(0.0, 0.75, len(groups))  # nothing so light that it fades on white
    colours = [to_hex(colormaps["viridis"](shade)) for shade in shades]
    return [([row for row in rows if getattr(row, by) == g], c) for g, c in zip(groups, colours, strict=True)]


def _powers_of_two(axis: Axes, places: Sequence[int]) -> None:
    """A logarithmic axis with a tick at each place and room for names at its right end."""
    over_sizes(axis, places)
    axis.set_xlim(places[0] / 1.3, places[-1] * max(1.6, (places[-1] / places[0]) ** 0.32))


def _label(axis: Axes, place: float, height: float, name: str, colour: str) -> None:
    axis.annotate(name, (place, height), xytext=(9, 0), textcoords="offset points", color=colour, va="center", size=13)


def _count(clients: int) -> str:
    return f"{clients} client" + "s" * (clients > 1)


def _finite(interval: Interval) -> Interval:
    """One repeat leaves a mean without an interval, which has no bar."""
    if math.isfinite(interval.high - interval.low):
        return interval
    return Interval(interval.value, interval.value, interval.value)


def _over_clients(rows: Sequence[PlaceSummary], best_of: int, value: Callable[[PlaceSummary], float]) -> float:
    """The mean of N's rows, each counted as often as it has answers."""
    mine = [row for row in rows if row.best_of == best_of]
    return float(np.average([value(row) for row in mine], weights=[row.succeeded for row in mine]))
