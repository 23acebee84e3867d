import json
from pathlib import Path

import pytest

from loadtests.bench.strategies.report import load_figures, show, write
from tests.loadtests.bench.strategies.shots import measured


@pytest.mark.parametrize(("counted", "status"), [(0, 0), (1, 1)])
def test_counters_that_are_not_what_was_billed_fail_the_run(counted: int, status: int) -> None:
    assert show(measured(counted)) == status


def test_everything_is_written_as_strict_json_and_as_a_picture(tmp_path: Path) -> None:
    assert load_figures(measured())["deadline"]["no answer in time"] == 1
    write(tmp_path, measured())
    record = json.loads((tmp_path / "strategies.json").read_text(), parse_constant=pytest.fail)
    assert record["prune"]["prune"]["tokens_share"]["value"] == 0.5
    assert record["load"]["rate"] == 3.0
    assert (tmp_path / "strategies.png").stat().st_size > 10_000
