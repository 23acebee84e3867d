"""The pictures of a comparison. Each function takes values and returns a figure; nothing is shown or kept global."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from measuring.estimators import Floats, Interval
from measuring.plots import GREY, finish
from training.experiments.compare.break_even import BreakEven, rounded
from training.experiments.compare.load import LoadCell
from training.experiments.compare.quality import QualityRow

_COLOURS = ("#b8860b", "#1f77b4", "#c0392b", "#2e8b57", "#7d3c98", "#444444")
_SIDES = ((5, -15), (-12, -26), (-4, 9))
_MARKERS = ("o", "s", "D", "^", "v", "P")
_LABEL, _TITLE, _NOTE = 14, 16, 12


class Palette:
    """One colour and marker for each policy, the same in every picture."""

    def __init__(self, policies: Sequence[str]) -> None:
        self._place = {name: index for index, name in enumerate(policies)}

    def colour(self, policy: str) -> str:
        return _COLOURS[self._place[policy] % len(_COLOURS)]

    def side(self, policy: str) -> tuple[int, int]:
        """Where the labels of its points stand, in points from them."""
        return _SIDES[self._place[policy] % len(_SIDES)]

    def marker(self, policy: str) -> str:
        return _MARKERS[self._place[policy] % len(_MARKERS)]


def quality_against(
    rows: Sequence[QualityRow],
    price: Mapping[tuple[str, int], Interval],
    palette: Palette,
    *,
    axis_label: str,
    title: str,
) -> Figure:
    """Gold against what it costs, a line for each policy, a point for each N, and the front that nothing beats.

    price: of (policy, N), on a logarithmic axis.
    """
    figure, axis = _one(title)
    best = front([(price[row.policy, row.best_of].value, row.gold.value) for row in rows])
    axis.step(
        *zip(*best, strict=True),
        where="post",
        color=GREY,
        linestyle="--",
        linewidth=1.5,
        zorder=1,
        label="Pareto front",
    )
    for policy, line in _by_policy(rows).items():
        prices = [price[row.policy, row.best_of] for row in line]
        _line(axis, prices, [row.gold for row in line], palette, policy)
        _label(axis, prices, line, palette, policy)
    axis.set_xscale("log")
    axis.margins(x=0.16, y=0.08)
    axis.legend(handles=axis.get_lines()[:1], fontsize=_NOTE, loc="lower right", frameon=False)
    _plain_log(axis)
    axis.set_xlabel(axis_label, fontsize=_LABEL)
    axis.set_ylabel("gold reward of the answer", fontsize=_LABEL)
    return figure


def reward_against_kl(rows: Sequence[QualityRow], palette: Palette) -> Figure:
    """Gold (above) and the reward model's own reward (below) against the distance from the first policy."""
    figure = Figure(figsize=(9, 8), layout="constrained")
    figure.suptitle("What moving away from the first policy buys", fontsize=_TITLE)
    above, below = figure.subplots(2, 1, sharex=True)
    for policy, line in _by_policy(rows).items():
        kl = [row.kl for row in line]
        _line(above, kl, [row.gold for row in line], palette, policy)
        _line(below, kl, [row.proxy for row in line], palette, policy)
        _label(above, kl, line, palette, policy)
    above.margins(x=0.16, y=0.08)
    above.set_ylabel("gold reward", fontsize=_LABEL)
    below.set_ylabel("reward model's reward", fontsize=_LABEL)
    below.set_xlabel("KL to the first policy, nats (of N: its upper bound)", fontsize=_LABEL)
    finish(above, below)
    return figure


def latencies(cells: Sequence[LoadCell], title: str) -> Figure:
    """Latency by N and load as boxes (quartiles) with whiskers to p5 and p95, and the stragglers' share below."""
    figure = Figure(figsize=(9, 8), layout="constrained")
    figure.suptitle(title, fontsize=_TITLE)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    sizes, loads = sorted({cell.best_of for cell in cells}), sorted({cell.clients for cell in cells})
    width = 0.8 / len(loads)
    for number, clients in enumerate(loads):
        of_load = {cell.best_of: cell for cell in cells if cell.clients == clients}
        places = [sizes.index(n) + (number - (len(loads) - 1) / 2) * width for n in of_load]
        colour = _COLOURS[(number + 1) % len(_COLOURS)]
        boxes = above.boxplot(
            [cell.latencies_s for cell in of_load.values()],
            positions=places,
            widths=0.85 * width,
            whis=(5, 95),
            showfliers=False,
            patch_artist=True,
            manage_ticks=False,
            medianprops={"color": "black", "linewidth": 1.5},
        )
        for box in boxes["boxes"]:
            box.set(facecolor=colour, alpha=0.7, label=f"{clients} client{'s' if clients > 1 else ''}")
        below.bar(
            places,
            [100 * cell.straggler_share for cell in of_load.values()],
            width=0.85 * width,
            color=colour,
            alpha=0.7,
        )
    above.set_yscale("log")
    _plain_log(above, vertical=True)
    above.set_ylabel("latency, s", fontsize=_LABEL)
    below.set_ylabel("stragglers, %\nof generation", fontsize=_LABEL)
    below.set_xticks(range(len(sizes)), [str(n) for n in sizes])
    below.set_xlabel("N (best_of)", fontsize=_LABEL)
    handles, labels = above.get_legend_handles_labels()
    first = dict(zip(labels, handles, strict=True))
    above.legend(first.values(), first.keys(), fontsize=_NOTE, frameon=False)
    finish(above, below)
    return figure


def break_even(found: Sequence[BreakEven], palette: Palette, base: str, months: float) -> Figure:
    """Dollars a month against requests a month, for each policy and for the best-of-N that equals it."""
    figure = Figure(figsize=(6.5 * max(len(found), 1), 5.5), layout="constrained")
    figure.suptitle("What a month costs at equal quality", fontsize=_TITLE)
    axes = np.atleast_1d(figure.subplots(1, max(len(found), 1), sharey=True))
    for axis, one in zip(axes, found, strict=False):
        even = one.requests.value
        middle = even if 0 < even < math.inf else 1e4
        requests = np.geomspace(middle / 100, middle * 100, 200)
        ways = [(one.policy, one.policy_bill, palette.colour(one.policy), "-")]
        if math.isfinite(one.n.value):
            ways.append((f"best-of-{one.n.value:.1f} of {base}", one.best_of_n_bill, palette.colour(base), "--"))
        for label, bill, colour, style in ways:
            axis.plot(requests, bill.monthly(requests, months), style, color=colour, linewidth=2.5, label=label)
        if 0 < even < math.inf:
            axis.axvline(even, color=GREY, linewidth=1)
            if math.isfinite(one.requests.high) and one.requests.low > 0:
                axis.axvspan(one.requests.low, one.requests.high, color=GREY, alpha=0.2, linewidth=0)
            axis.annotate(
                f" even at {rounded(even)}",
                (even, 0.03),
                xycoords=("data", "axes fraction"),
                fontsize=_NOTE,
                color=GREY,
            )
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlabel("requests a month", fontsize=_LABEL)
        axis.set_title(f"gold {one.gold.value:.3f}", fontsize=_LABEL)
        axis.legend(fontsize=_NOTE, frameon=False, loc="upper left")
    axes[0].set_ylabel("dollars a month", fontsize=_LABEL)
    finish(*axes)
    return figure


def _one(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(9, 6), layout="constrained")
    axis = figure.subplots()
    axis.set_title(title, fontsize=_TITLE)
    finish(axis)
    return figure, axis


def _line(axis: Axes, places: Sequence[Interval], heights: Sequence[Interval], palette: Palette, policy: str) -> None:
    axis.errorbar(
        [place.value for place in places],
        [height.value for height in heights],
        xerr=_around(places),
        yerr=_around(heights),
        fmt=f"{palette.marker(policy)}-",
        color=palette.colour(policy),
        capsize=3,
        linewidth=2,
        markersize=7,
        label=policy,
    )


def _around(values: Sequence[Interval]) -> Floats:
    """How far the ends of the intervals are from the values, [2, values]."""
    ends = [(max(value.value - value.low, 0.0), max(value.high - value.value, 0.0)) for value in values]
    return np.array(ends, float).T


def _label(axis: Axes, places: Sequence[Interval], line: Sequence[QualityRow], palette: Palette, policy: str) -> None:
    """The policy's name at its first point and N at the others, each policy's on a side of its own."""
    for number, (place, row) in enumerate(zip(places, line, strict=True)):
        axis.annotate(
            f"{policy}, N = {row.best_of}" if number == 0 else f"{row.best_of}",
            (place.value, row.gold.value),
            xytext=(-6, -17) if number == 0 else palette.side(policy),
            textcoords="offset points",
            ha="right" if number == 0 else "left",
            fontsize=_LABEL if number == 0 else _NOTE,
            color=palette.colour(policy),
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )


def front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that none beats: nothing is at once cheaper and better. By price."""
    best: list[tuple[float, float]] = []
    for price, quality in sorted(points, key=lambda point: (point[0], -point[1])):
        if not best or quality > best[-1][1]:
            best.append((price, quality))
    return best


def _by_policy(rows: Sequence[QualityRow]) -> dict[str, list[QualityRow]]:
    return {name: [row for row in rows if row.policy == name] for name in dict.fromkeys(row.policy for row in rows)}


def _plain_log(axis: Axes, *, vertical: bool = False) -> None:
    """Plain numbers at 1, 2 and 5 of every power of ten."""
    of = axis.yaxis if vertical else axis.xaxis
    of.set_major_locator(LogLocator(subs=(1, 2, 5)))
    of.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    of.set_minor_formatter(NullFormatter())
