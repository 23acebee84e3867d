"""What help lists is what there is, and each command that takes it lists it."""

import pytest
from typer.testing import CliRunner

from bestofn_server.cli import app
from bestofn_server.commands import choices
from loadtests.workload import WORKLOADS, workload_path
from service.rerank.strategies import STRATEGIES
from training.labs import LABS
from training.run.config import RECIPES, SAMPLERS, recipe_path


def test_they_are_those_of_their_owners() -> None:
    assert choices.LABS.split("|") == list(LABS)
    assert choices.SAMPLERS.split("|") == list(SAMPLERS)
    assert choices.STRATEGIES.split("|") == [strategy.name for strategy in STRATEGIES]
    assert all(recipe_path(name).parent == RECIPES for name in choices.RECIPES.split(", "))
    assert all(workload_path(name).parent == WORKLOADS for name in choices.WORKLOADS.split(", "))


@pytest.mark.parametrize(
    ("command", "listed"),
    [
        (["collect"], [choices.LABS, choices.SAMPLERS]),
        (["evaluate", "policy"], [choices.LABS, choices.SAMPLERS]),
        (["label"], [choices.LABS, "gold|judge|file", "best|ranking|scores"]),
        (["replay"], [choices.STRATEGIES]),
        (["sweep"], [choices.WORKLOADS, "best_of|n"]),
        (["compare"], ["arithmetic_sft", "compare_arithmetic", "selection"]),
    ],
)
def test_help_lists_the_values(command: list[str], listed: list[str]) -> None:
    done = CliRunner().invoke(app, [*command, "-h"], env={"COLUMNS": "300"})
    assert done.exit_code == 0
    assert all(values in done.output for values in listed)
