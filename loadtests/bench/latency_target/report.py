"""The load test of the latency target as a table, as JSON and as one picture."""

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from loadtests.bench.latency_target.plots import over_time
from loadtests.bench.latency_target.summary import CONTROLLED, FIXED, Trial
from measuring.estimators import Interval
from measuring.plots import save
from measuring.strict_json import strict_json


def write(folder: Path, trial: Trial) -> None:
    """slo.json and slo.png."""
    folder.mkdir(parents=True, exist_ok=True)
    goal = asdict(trial.goal)
    record = {
        "best_of": goal.pop("best_of"),
        "goal": goal,
        "times": trial.times,
        "rounds": trial.rounds,
        "round_s": trial.round_s,
        "cores": os.cpu_count(),
        "arms": trial.summaries,
        "requests": {name: [asdict(one) for one in some] for name, some in trial.arrivals.items()},
    }
    (folder / "slo.json").write_text(strict_json(record, indent=None), encoding="utf-8")
    save(over_time(trial.arrivals, trial.goal.target_s), folder / "slo.png")


def show(trial: Trial) -> None:
    """The goal, and a column for each server."""
    goal, summaries = trial.goal, trial.summaries
    console = Console(width=130)
    console.print(
        f"Alone, N = {goal.best_of} takes {goal.light_p99_s:.3f} s (p99); the target is {goal.target_s:.3f} s. "
        f"A full server answers {goal.full_rate:.2f} requests/s; fixed N holds the target at {goal.rate:.2f}. "
        "p99 by load: " + ", ".join(f"{rate:.2f}/s {p99_s:.2f} s" for rate, p99_s in goal.steps)
    )
    rounds = f"{trial.rounds} rounds of {trial.round_s:.0f} s"
    table = Table("", *summaries, title=f"{trial.times * goal.rate:.2f} requests/s, {rounds}, {os.cpu_count()} cores")
    rows: Mapping[str, tuple[str, int]] = {
        "p50, s": ("p50_s", 3),
        "p99, s": ("p99_s", 3),
        "share answered in time": ("in_time", 3),
        "goodput, answers in time/s": ("goodput", 2),
        "refused (429)": ("refused", 3),
        "N used": ("best_of", 1),
        "reward of answers": ("reward", 3),
        "right answers": ("correct", 3),
    }
    for row, (field, digits) in rows.items():
        values: list[Interval] = [getattr(summary, field) for summary in summaries.values()]
        table.add_row(row, *(value.text(digits) for value in values))
    console.print(table)
    ratio = summaries[CONTROLLED].goodput.value / max(summaries[FIXED].goodput.value, 1e-9)
    console.print(f"goodput of the controller over fixed N: {ratio:.2f}")
