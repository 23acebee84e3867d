"""What came of each fault, and the table of all of them."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.table import Table

from loadtests.bench.faults.judge import Verdict

GOAL_S = 2.0
_ALIKE = 60  # characters of two misses that make them one line


@dataclass(frozen=True)
class Judged:
    """A reply and what it is. after_s: from the fault to the end of the reply. asked: of a malformed one, the body."""

    path: str
    streamed: bool
    verdict: Verdict
    after_s: float
    asked: str = ""


@dataclass
class Fault:
    """One fault that was injected.

    kind: kill, stop, term and so on. stage: of a request or of the server. target: the process, or what the client
    does. judged: everything that was in flight or came after it. cut_off: replies that the death of the very process
    that answers took away. goal_s: for the slowest answer after it; None where load alone makes answers late. wrong:
    one line for each thing that should not be.
    """

    kind: str
    stage: str
    target: str
    judged: list[Judged] = field(default_factory=list)
    cut_off: int = 0
    goal_s: float | None = GOAL_S
    tokens_off: int | None = None
    leaked: int | None = None
    records_lost: int | None = None
    processes_left: int | None = None
    wrong: list[str] = field(default_factory=list)

    def count(self, kind: str) -> int:
        """Replies of that kind."""
        return sum(judged.verdict.kind == kind for judged in self.judged)

    @property
    def slowest_s(self) -> float:
        """Of what was answered after the fault; 0 where all had come before, or load alone makes it late.

        An answer that nobody ranks is a long one by itself, which shows the stage `streaming`: it is not counted.
        """
        if self.goal_s is None:
            return 0.0
        verdicts = [(judged.verdict, judged.after_s) for judged in self.judged]
        return max((after_s for verdict, after_s in verdicts if verdict.ranked or verdict.kind == "error"), default=0.0)

    @property
    def is_met(self) -> bool:
        """Whether every reply was typed and in time, and nothing was left behind or lost."""
        return not (self.count("miss") or self.wrong or self._is_late)

    @property
    def _is_late(self) -> bool:
        return self.goal_s is not None and self.slowest_s > self.goal_s

    def faults(self) -> list[str]:
        """A line for each thing that is wrong, to hand on."""
        name = f"{self.kind} of {self.target} while {self.stage}"
        misses: defaultdict[tuple[str, str], list[Judged]] = defaultdict(list)
        for judged in self.judged:
            if judged.verdict.kind == "miss":
                misses[judged.path + " streamed" * judged.streamed, judged.verdict.evidence[:_ALIKE]].append(judged)
        lines = [
            f"{name}: {path}: {len(alike)} times: {alike[0].verdict.evidence} {alike[0].asked}".rstrip()
            for (path, _), alike in misses.items()
        ]
        if self._is_late:
            lines.append(f"{name}: the slowest answer came {self.slowest_s:.1f} s after it")
        return lines + [f"{name}: {what}" for what in self.wrong]


@dataclass
class Totals:
    """Sums over faults; None where nothing was measured of it."""

    injected: int = 0
    met: int = 0
    answers: int = 0
    errors: int = 0
    misses: int = 0
    left: int = 0
    cut_off: int = 0
    slowest_s: float = 0.0
    tokens_off: int = 0
    leaked: int = 0
    records_lost: int = 0
    processes_left: int = 0


def total(faults: Iterable[Fault]) -> Totals:
    """Over all of them."""
    sums = Totals()
    for fault in faults:
        sums.injected += 1
        sums.met += fault.is_met
        sums.answers += fault.count("answer")
        sums.errors += fault.count("error")
        sums.misses += fault.count("miss")
        sums.left += fault.count("left")
        sums.cut_off += fault.cut_off
        sums.slowest_s = max(sums.slowest_s, fault.slowest_s)
        sums.tokens_off += abs(fault.tokens_off or 0)
        sums.leaked += fault.leaked or 0
        sums.records_lost += fault.records_lost or 0
        sums.processes_left += fault.processes_left or 0
    return sums


_COLUMNS = {
    "faults": "injected",
    "met": "met",
    "answers": "answers",
    "typed errors": "errors",
    "misses": "misses",
    "cut off": "cut_off",
    "slowest s": "slowest_s",
    "tokens off": "tokens_off",
    "leaked": "leaked",
    "records lost": "records_lost",
    "left running": "processes_left",
}


def table(faults: Sequence[Fault]) -> Table:
    """A row for each kind, target and stage, and one for all."""
    groups: defaultdict[tuple[str, str, str], list[Fault]] = defaultdict(list)
    for fault in faults:
        groups[fault.kind, fault.target, fault.stage].append(fault)
    drawn = Table(title=f"faults, and what came of them (goal: typed within {GOAL_S:g} s, and nothing left)")
    for name in ("kind", "target", "stage"):
        drawn.add_column(name)
    for name in _COLUMNS:
        drawn.add_column(name, justify="right")
    for names, group in groups.items():
        drawn.add_row(*names, *_cells(total(group)))
    drawn.add_section()
    drawn.add_row("all", "", "", *_cells(total(faults)))
    return drawn


def _cells(sums: Totals) -> list[str]:
    values = [getattr(sums, name) for name in _COLUMNS.values()]
    return [f"{value:.2f}" if isinstance(value, float) else str(value) for value in values]


def write(faults: Sequence[Fault], malformed: int, path: Path) -> None:
    """Everything as JSON. malformed: requests that the schema's fuzzer sent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    value = {
        "totals": asdict(total(faults)),
        "malformed_requests": malformed,
        "wrong": [line for fault in faults for line in fault.faults()],
        "faults": [asdict(fault) for fault in faults],
    }
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
