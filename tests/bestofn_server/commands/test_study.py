"""`bestofn study`: its sub-commands, and what stops them before anything is trained."""

import pytest
from typer.testing import CliRunner

from bestofn_server.cli import app

STUDIES = ("over-optimisation", "k-wise", "online", "selection")


def test_help_lists_the_studies() -> None:
    done = CliRunner().invoke(app, ["study", "--help"], env={"COLUMNS": "200"})
    assert all(study in done.output for study in STUDIES)


@pytest.mark.parametrize("study", STUDIES)
def test_the_settings_of_a_study_are_checked(study: str) -> None:
    done = CliRunner().invoke(app, ["study", study, "--set", "wild=1"])
    assert done.exit_code == 2
    assert f"`bestofn study {study}` with the recipe " in done.output
    assert "unknown setting 'wild'" in done.output
