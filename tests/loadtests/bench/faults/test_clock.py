"""Where libfaketime is found, and what a server needs for its clock to be moved."""

from pathlib import Path

import pytest

from loadtests.bench.faults import clock


def test_the_library_is_where_the_environment_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_USUAL", ())
    assert clock.library() is None
    monkeypatch.setenv("LIBFAKETIME", str(tmp_path / "none.so"))
    assert clock.library() is None
    (tmp_path / "none.so").touch()
    assert clock.library() == tmp_path / "none.so"


def test_the_clock_begins_right_and_only_the_wall_clock_moves(tmp_path: Path) -> None:
    offset = tmp_path / "offset"
    found = clock.environment(Path("/x.so"), offset)
    assert (found["LD_PRELOAD"], found["FAKETIME_TIMESTAMP_FILE"]) == ("/x.so", str(offset))
    assert found["FAKETIME_DONT_FAKE_MONOTONIC"] == "1"
    assert offset.read_text() == "+0"
    clock.set_clock(offset, "+3600")
    assert offset.read_text() == "+3600"
