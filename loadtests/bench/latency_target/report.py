"""The load test of the latency target as a table, as JSON and as one picture."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from rich.console import Console
from rich.table import Table

from loadtests.bench.latency_target.plots import over_time
from loadtests.bench.latency_target.summary import ArmSummary, Arrival, summarise
from measuring.estimators import Interval
from measuring.plots import save
from measuring.strict_json import strict_json

FIXED, REFUSING, CONTROLLED = "fixed N", "fixed N, refusing", "controller"


@dataclass(frozen=True)
class Goal:
    """What is to be held, and under which load."""

    best_of: int
    light_p99_s: float  # with nothing else to do
    target_s: float
    rate: float  # requests a second at which fixed N holds the target
    full_rate: float  # that a full server answers
    steps: Sequence[tuple[float, float]]  # each load of the search with its p99

    @property
    def max_candidates(self) -> int:
        """As many as a full server answers within the target."""
        return self.best_of * max(int(self.full_rate * self.target_s), 1)


@dataclass(frozen=True)
class Measured:
    """Everything that was measured."""

    goal: Goal
    times: float  # the load over what fixed N holds
    rounds: int
    round_s: float
    arrivals: Mapping[str, Sequence[Arrival]]  # by the server's name

    @cached_property
    def summaries(self) -> dict[str, ArmSummary]:
        """By the server's name."""
        return {name: summarise(some, self.goal.target_s, self.round_s) for name, some in self.arrivals.items()}


def write(folder: Path, measured: Measured) -> None:
    """slo.json and slo.png."""
    folder.mkdir(parents=True, exist_ok=True)
    goal = asdict(measured.goal)
    record = {
        "best_of": goal.pop("best_of"),
        "goal": goal,
        "times": measured.times,
        "rounds": measured.rounds,
        "round_s": measured.round_s,
        "cores": os.cpu_count(),
        "arms": measured.summaries,
        "requests": {name: [asdict(one) for one in some] for name, some in measured.arrivals.items()},
    }
    (folder / "slo.json").write_text(strict_json(record, indent=None), encoding="utf-8")
    save(over_time(measured.arrivals, measured.goal.target_s), folder / "slo.png")


def show(measured: Measured) -> None:
    """The goal, and a column for each server."""
    goal, summaries = measured.goal, measured.summaries
    console = Console(width=130)
    console.print(
        f"Alone, N = {goal.best_of} takes {goal.light_p99_s:.3f} s (p99); the target is {goal.target_s:.3f} s. "
        f"A full server answers {goal.full_rate:.2f} requests/s; fixed N holds the target at {goal.rate:.2f}. "
        "p99 by load: " + ", ".join(f"{rate:.2f}/s {p99_s:.2f} s" for rate, p99_s in goal.steps)
    )
    rounds = f"{measured.rounds} rounds of {measured.round_s:.0f} s"
    table = Table(
        "", *summaries, title=f"{measured.times * goal.rate:.2f} requests/s, {rounds}, {os.cpu_count()} cores"
    )
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
