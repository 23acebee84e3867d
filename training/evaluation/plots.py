"""Pictures of policies, of reward models and of studies. Each takes values and returns a figure."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from measuring.estimators import Interval
from measuring.plots import GOLD, GREY, PROXY, finish, intervals, over_sizes
from training.evaluation.baselines import Baselines
from training.evaluation.measure import BestOfNCurve, column_mean
from training.evaluation.pairwise import Bin, Calibration, Pairwise
from training.evaluation.scaling import Curve, Fit


def calibration(measured: Calibration) -> Figure:
    """Reliability diagram: how often the preferred response is the better one, against the model's confidence."""
    figure = Figure(figsize=(7, 6.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
    upper.plot([0.5, 1], [0.5, 1], "--", color=GREY, label="perfectly calibrated")
    intervals(upper, measured.confidence, [b.accuracy for b in measured.bins], PROXY, "reward model")
    upper.set_ylabel("preferred response is the better one", fontsize=13)
    figure.suptitle(f"Calibration: expected error {measured.error:.3f}", fontsize=15)
    upper.legend(fontsize=12, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
    lower.bar(
        [b.low for b in measured.bins],
        [b.pairs for b in measured.bins],
        width=[b.high - b.low for b in measured.bins],
        align="edge",
        color=PROXY,
        edgecolor="white",
    )
    lower.set_ylabel("pairs", fontsize=13)
    lower.set_xlabel("confidence: sigmoid of the difference of rewards", fontsize=13)
    lower.set_xlim(0.49, 1.01)
    finish(upper, lower)
    return figure


def accuracy_by(measured: Pairwise) -> Figure:
    """Accuracy over pairs by margin and by difference of length."""
    panels = {
        "margin of the labels": measured.by_label_margin,
        "difference of rewards": measured.by_reward_margin,
        "tokens: better minus worse": measured.by_length_difference,
    }
    shown = {title: bins for title, bins in panels.items() if bins}
    figure = Figure(figsize=(5 * max(1, len(shown)), 5), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, max(1, len(shown)), sharey=True))
    for axis, (title, bins) in zip(axes, shown.items(), strict=False):
        intervals(axis, range(len(bins)), [b.accuracy for b in bins], PROXY, "")
        axis.axhline(measured.accuracy.value, color=GREY, linestyle="--")
        axis.set_xticks(range(len(bins)), [_range(b) for b in bins])
        axis.set_xlim(-0.5, len(bins) - 0.5)
        axis.set_xlabel(title, fontsize=13)
    axes[0].set_ylabel("accuracy (dashed: over all pairs)", fontsize=13)
    finish(*axes)
    return figure


def draw_best_of_n(measured: BestOfNCurve, free: Baselines | None = None) -> Figure:
    """Gold reward of best-of-n, with the reward model's own reward beside it on an axis of its own.

    free: of the same samples; the best of them at each n.
    """
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    gold_axis = figure.subplots()
    proxy_axis = gold_axis.twinx()
    sizes = list(measured.gold)
    intervals(gold_axis, sizes, list(measured.gold.values()), GOLD, "gold reward", "o-")
    gold_axis.axhline(measured.best_of_largest.value, color=GOLD, linestyle=":", label=f"best of {sizes[-1]} by gold")
    if free:
        best = list(free.best_free_gold.values())
        intervals(gold_axis, sizes, best, GREY, "gold reward of the best free baseline", "^-")
    intervals(proxy_axis, sizes, list(measured.proxy.values()), PROXY, "its own reward (right)", "s--")
    over_sizes(gold_axis, sizes)
    gold_axis.set_xlabel("best of n", fontsize=13)
    gold_axis.set_ylabel("gold reward", color=GOLD, fontsize=13)
    proxy_axis.set_ylabel("reward model's reward", color=PROXY, fontsize=13)
    handles = [h for axis in (gold_axis, proxy_axis) for h in axis.get_legend_handles_labels()[0]]
    gold_axis.legend(handles=handles, fontsize=12, loc="lower right")
    finish(gold_axis)
    proxy_axis.tick_params(labelsize=12)
    return figure


def over_optimisation(curves: Mapping[str, Curve], fits: Mapping[str, Fit]) -> Figure:
    """Gain in gold (above, with the fitted curve) and in proxy reward (below) against sqrt(KL), a column for each way.

    Each has a scale of its own: what the proxy promises is often ten times what comes of it.
    """
    figure = Figure(figsize=(5 * len(curves), 7), layout="constrained")
    axes = figure.subplots(2, len(curves), sharex="col", sharey="row", squeeze=False)
    for (above, below), (name, curve) in zip(axes.T, curves.items(), strict=True):
        measured = [column_mean(curve.gold, index) for index in range(len(curve.labels))]
        intervals(above, curve.distance.tolist(), measured, GOLD, "measured")
        if name in fits:
            d = np.linspace(0, float(curve.distance.max()), 200)
            above.plot(d, fits[name].values(d), "-", color=GOLD, alpha=0.6, label="fitted")
        below.plot(curve.distance, curve.proxy.mean(axis=0), "s-", color=PROXY, markersize=5)
        for axis in (above, below):
            axis.axhline(0, color=GREY, linewidth=0.8)
        above.set_title(name, fontsize=15)
        below.set_xlabel("d = square root of KL in nats", fontsize=13)
    axes[0, 0].set_ylabel("gold reward gained", fontsize=13)
    axes[1, 0].set_ylabel("proxy reward gained", fontsize=13)
    axes[0, 0].legend(fontsize=12, loc="lower right")
    finish(*axes.flat)
    return figure


def selection(sizes: Sequence[int], panels: Sequence[Mapping[str, Sequence[Interval]]]) -> Figure:
    """Gold reward against N, a line for each method of selection and a panel for each seed."""
    figure = Figure(figsize=(5.5 * len(panels), 6), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    lines = ("o-", "s-", "^-", "v-", "o--", "s--", "^--", "v--")
    for number, (axis, curves) in enumerate(zip(axes, panels, strict=True)):
        for place, (name, values) in enumerate(curves.items()):
            aside = 2 ** (0.07 * (place - (len(curves) - 1) / 2))  # so that the bars of one N stand side by side
            intervals(axis, [n * aside for n in sizes], values, f"C{place}", name, lines[place % len(lines)])
        over_sizes(axis, sizes)
        axis.set_title(f"seed {number}", fontsize=15)
        axis.set_xlabel("N: candidates to select among", fontsize=13)
    axes[0].set_ylabel("gold reward of the selected answer", fontsize=13)
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=12, loc="outside upper center", ncols=4, frameon=False)
    finish(*axes)
    return figure


def _range(part: Bin) -> str:
    if float(part.low).is_integer() and float(part.high).is_integer():
        return f"{part.low:.0f}\nto {part.high:.0f}"
    return f"{part.low:.2f}\nto {part.high:.2f}"
