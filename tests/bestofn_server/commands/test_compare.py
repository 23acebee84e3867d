"""`bestofn compare`: what stops it before anything is served."""

import os
import signal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bestofn_server.cli import app
from bestofn_server.commands.compare import _leaving_on_sigterm


def test_a_checkpoint_that_does_not_say_what_it_took_is_an_error(tmp_path: Path) -> None:
    asked = ["compare", "--output", str(tmp_path / "out"), "--set", f"reward_model={tmp_path}"]
    done = CliRunner().invoke(app, asked)
    assert (done.exit_code, "has no training_cost.json" in done.output) == (2, True)


def test_help_lists_the_settings() -> None:
    done = CliRunner().invoke(app, ["compare", "--help"], env={"COLUMNS": "200"})
    assert "hour_dollars = 1.0" in done.output


def test_a_termination_ends_what_was_started_too() -> None:
    """SIGTERM leaves through the code's own exits, and is handled as before afterwards."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit, match="143"), _leaving_on_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
