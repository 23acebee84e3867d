"""The picture of a load test of the latency target."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from loadtests.bench.latency_target.summary import Arrival
from measuring.plots import GREY, finish


def over_time(arms: Mapping[str, Sequence[Arrival]], target_s: float) -> Figure:
    """Latency of each request of the first round above, the N it was answered with below, a column for each arm."""
    figure = Figure(figsize=(5 * len(arms), 7), layout="constrained")
    axes = figure.subplots(2, len(arms), sharex=True, sharey="row", squeeze=False)
    for (upper, lower), (name, seen) in zip(axes.T, arms.items(), strict=True):
        answered = [one for one in seen if one.round == 0 and one.latency_s is not None]
        refused = [one.due_s for one in seen if one.round == 0 and one.status == 429]
        due_s = [one.due_s for one in answered]
        upper.plot(due_s, [one.latency_s for one in answered], ".", markersize=5)
        upper.plot(refused, [target_s] * len(refused), "x", color="tab:red", label=f"refused (429): {len(refused)}")
        upper.axhline(target_s, color=GREY, linestyle="--", label=f"target {target_s * 1000:.0f} ms")
        upper.set_yscale("log")
        upper.set_title(name, fontsize=15)
        upper.legend(fontsize=11, loc="lower right")
        lower.plot(due_s, [one.best_of for one in answered], ".", markersize=5)
        lower.set_xlabel("seconds since the load began", fontsize=13)
    axes[0][0].set_ylabel("latency, s", fontsize=13)
    axes[1][0].set_ylabel("N that was used", fontsize=13)
    axes[1][0].set_ylim(bottom=0)
    finish(*axes.flat)
    return figure
