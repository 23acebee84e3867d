"""The picture of the load test of the strategies."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loadtests.bench.strategies import summary
from loadtests.bench.strategies.summary import FULL, Arm, MeasuredStrategies
from measuring.plots import GREY, finish, intervals, over_sizes


def picture(measured: MeasuredStrategies) -> Figure:
    """Gain against tokens, gold against candidates, and the latencies under load."""
    figure = Figure(figsize=(17, 5.5), layout="constrained")
    tokens, samples, times = figure.subplots(1, 3)
    _draw_cut(tokens, measured)
    _draw_waves(samples, measured)
    _draw_load(times, list(measured.loaded.values()))
    finish(tokens, samples, times)
    return figure


def _draw_cut(axis: Axes, measured: MeasuredStrategies) -> None:
    full = measured.cut[FULL]
    for place, arm in enumerate(measured.cut.values()):
        share = 100 * summary.tokens_share(arm, full).value
        intervals(axis, [share], [summary.gain_kept(arm, full)], f"C{place}", arm.name)
    axis.axhline(0.95, color=GREY, linestyle="--")
    axis.axvline(55, color=GREY, linestyle="--")
    _name(axis, "One client", f"tokens, % of {FULL}", f"share of the gold gain of {FULL}")


def _draw_waves(axis: Axes, measured: MeasuredStrategies) -> None:
    sizes = list(measured.fixed)
    gold = [summary.mean_of(arm, "gold") for arm in measured.fixed.values()]
    intervals(axis, sizes, gold, GREY, "best_of_n", "o-")
    for place, arm in enumerate(measured.waves.values()):
        sampled = summary.mean_of(arm, "sampled").value
        intervals(axis, [sampled], [summary.mean_of(arm, "gold")], f"C{place}", arm.name, "s")
    over_sizes(axis, sizes)
    _name(axis, "Some clients", "candidates for a request", "gold of the answer")


def _draw_load(axis: Axes, arms: Sequence[Arm]) -> None:
    for place, arm in enumerate(arms):
        ordered = np.sort(arm.column("latency_s"))
        longer = 1 - np.arange(len(ordered)) / len(ordered)
        axis.step(ordered, longer, where="post", color=f"C{place}", linewidth=2, label=arm.name)
    axis.set_yscale("log")
    _name(axis, "Open loop", "latency, s", "share of requests that take longer")


def _name(axis: Axes, title: str, along: str, up: str) -> None:
    axis.set_title(title, fontsize=15)
    axis.set_xlabel(along, fontsize=13)
    axis.set_ylabel(up, fontsize=13)
    axis.legend(fontsize=11, loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2, frameon=False)
