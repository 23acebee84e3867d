"""What every picture has in common: how it is saved, its colours, values with their intervals, an axis of sizes.

Each room draws its own pictures with it: functions that take values and return a figure; nothing is shown or kept
global.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from measuring.estimators import Interval

GOLD, PROXY, GREY = "#b8860b", "#1f77b4", "#808080"


def save(figure: Figure, path: Path) -> Path:
    """Write the figure, large enough to be read at half its size."""
    figure.savefig(path, dpi=150, bbox_inches="tight")
    return path


def svg(figure: Figure) -> str:
    """The figure as an element to stand in a page, its text as text; the same whenever it is drawn."""
    text = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "bestofn"}):
        figure.savefig(text, format="svg", bbox_inches="tight", metadata={"Date": None})
    return "<svg" + text.getvalue().partition("<svg")[2]


def intervals(
    axis: Axes, places: Sequence[float], values: Sequence[Interval], colour: str, label: str, line: str = "o"
) -> None:
    """Values at their places, each with the bar of its interval."""
    middle = [value.value for value in values]
    below = [value.value - value.low for value in values]
    above = [value.high - value.value for value in values]
    axis.errorbar(
        places, middle, yerr=np.maximum([below, above], 0), fmt=line, color=colour, capsize=4, linewidth=2, label=label
    )


def over_sizes(axis: Axes, sizes: Sequence[int]) -> None:
    """A logarithmic axis of N or of clients, with a tick at each of `sizes`."""
    axis.set_xscale("log", base=2)
    axis.set_xticks(sizes, [str(size) for size in sizes])
    axis.minorticks_off()


def finish(*axes: Axes) -> None:
    """Ticks that are read at half size, and a faint grid."""
    for axis in axes:
        axis.tick_params(labelsize=12)
        axis.grid(alpha=0.3)
