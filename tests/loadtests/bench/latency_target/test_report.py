import json
from pathlib import Path

import pytest

from loadtests.bench.latency_target.report import show, write
from loadtests.bench.latency_target.summary import CONTROLLED, FIXED, REFUSING, Arrival, Goal, Trial

GOAL = Goal(16, 0.2, target_s=1.0, rate=3, full_rate=6.5, steps=[(3.0, 0.5), (5.0, 2.0)])


def test_everything_is_shown_and_written_as_strict_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    late = [Arrival(0, second, 200, 2.0, 16, 1.0, correct=False) for second in range(10)]
    good = [Arrival(0, second, 200, 0.5, 4, 1.0, correct=True) for second in range(10)]
    refused = [Arrival(0, float(second), 429) for second in range(10)]
    arrivals = {FIXED: [*good[:2], *late[2:]], REFUSING: refused, CONTROLLED: good}
    trial = Trial(GOAL, 2, 1, 10.0, arrivals)
    show(trial)
    assert "goodput of the controller over fixed N: 5.00" in capsys.readouterr().out
    write(tmp_path / "slo", trial)
    record = json.loads((tmp_path / "slo/slo.json").read_text(), parse_constant=pytest.fail)
    assert record["goal"]["target_s"] == 1.0
    assert record["arms"][CONTROLLED]["correct"]["value"] == 1.0
    assert record["arms"][REFUSING]["p99_s"]["value"] is None
    assert len(record["requests"][FIXED]) == 10
    assert (tmp_path / "slo/slo.png").stat().st_size > 10_000
