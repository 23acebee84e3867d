"""The arguments."""

from pathlib import Path

import pytest

from loadtests.bench.faults.measure import KINDS, read


def test_everything_is_the_default() -> None:
    found = read([])
    assert (found.kinds, found.rounds, found.examples) == (KINDS, 1, 10_000)
    assert found.output == Path("runs/faults/faults.json")


def test_some_kinds_can_be_chosen() -> None:
    assert read(["--kinds", "flood, kill", "--rounds", "3", "--only", "api:decode"]).kinds == ("flood", "kill")


def test_a_kind_that_there_is_not_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read(["--kinds", "floods"])
    assert "there is no 'floods'; there are: stop, disconnect" in capsys.readouterr().err
