"""Sums, the goal, and the lines to hand on."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from loadtests.bench.faults.judge import Verdict
from loadtests.bench.faults.record import Fault, Judged, table, total, write

ANSWER = Judged("/v1/messages", False, Verdict("answer", tokens=3), 0.5)
LATE = Judged("/v1/messages", True, Verdict("error"), 2.5)
LONG = Judged("/v1/chat/completions", True, Verdict("answer", tokens=400), 4.0)
RANKED_LATE = Judged("/v1/chat/completions", True, Verdict("answer", tokens=400, ranked=True), 4.0)
MISS = Judged("/v1/completions", True, Verdict("miss", "no answer: reset"), 0.1)


@pytest.mark.parametrize(
    ("fault", "is_met", "line"),
    [
        (Fault("kill", "decode", "reward", [ANSWER]), True, ""),
        (Fault("kill", "decode", "reward", []), True, ""),
        (
            Fault("kill", "decode", "reward", [ANSWER, MISS, MISS]),
            False,
            "kill of reward while decode: /v1/completions streamed: 2 times: no answer: reset",
        ),
        (
            Fault("kill", "decode", "reward", [LATE]),
            False,
            "kill of reward while decode: the slowest answer came 2.5 s after it",
        ),
        (Fault("kill", "streaming", "reward", [LONG]), True, ""),
        (
            Fault("kill", "streaming", "reward", [RANKED_LATE]),
            False,
            "kill of reward while streaming: the slowest answer came 4.0 s after it",
        ),
        (Fault("flood", "waiting", "n", [LATE], goal_s=None), True, ""),
        (Fault("term", "waiting", "api", wrong=["left running"]), False, "term of api while waiting: left running"),
    ],
)
def test_a_fault_is_met_where_all_was_typed_in_time_and_nothing_was_left(fault: Fault, is_met: bool, line: str) -> None:
    assert fault.is_met is is_met
    assert fault.faults() == ([line] if line else [])


def test_totals_are_sums_and_what_was_not_measured_counts_nothing() -> None:
    faults = [
        Fault("kill", "decode", "api", [ANSWER, MISS], cut_off=2, processes_left=1),
        Fault("stop", "decode", "api", [LATE, ANSWER], tokens_off=-4, leaked=3, records_lost=1),
    ]
    sums = total(faults)
    assert (sums.injected, sums.met, sums.answers, sums.errors, sums.misses, sums.cut_off) == (2, 0, 2, 1, 1, 2)
    assert (sums.tokens_off, sums.leaked, sums.records_lost, sums.processes_left) == (4, 3, 1, 1)
    assert sums.slowest_s == 2.5


def test_the_table_has_a_row_for_each_kind_target_and_stage() -> None:
    faults = [Fault("kill", "decode", "api"), Fault("kill", "decode", "api"), Fault("stop", "decode", "api")]
    console = Console(width=150, record=True, quiet=True)
    drawn = table(faults)
    assert drawn.row_count == 3
    console.print(drawn)


def test_everything_is_written(tmp_path: Path) -> None:
    write([Fault("kill", "decode", "api", [MISS])], 12, tmp_path / "new" / "faults.json")
    found = json.loads((tmp_path / "new" / "faults.json").read_text())
    assert found["totals"]["misses"] == 1
    assert found["malformed_requests"] == 12
    assert found["wrong"] == ["kill of api while decode: /v1/completions streamed: 1 times: no answer: reset"]
    assert found["faults"][0]["judged"][0]["verdict"]["evidence"] == "no answer: reset"
