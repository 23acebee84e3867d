"""Best-of-N beside trained policies: the arithmetic of break-even, and the whole of `bestofn compare` in short."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bestofn_server.cli import app
from training.experiments.compare import figures

SHORT = {"prompts": 4, "requests": 2, "repeats": 1, "best_of": "1,2", "clients": "1,2"}


@pytest.mark.engine
def test_two_policies_are_compared_on_real_servers_and_nothing_is_done_twice(tmp_path: Path) -> None:
    recipe = tmp_path / "short.yaml"
    text = (Path(figures.__file__).parents[2] / "recipes/compare_arithmetic.yaml").read_text(encoding="utf-8")
    recipe.write_text(re.sub(r"  PPO: .*\n", "", text), encoding="utf-8")
    sets = [word for key, value in SHORT.items() for word in ("--set", f"{key}={value}")]
    command = ["compare", "--recipe", str(recipe), "--output", str(tmp_path / "out"), *sets]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output[-3000:]
    page = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 5
    assert not re.search(r'(src|href)="https?:', page)
    numbers = json.loads((tmp_path / "out/comparison.json").read_text(encoding="utf-8"))
    assert [(row["policy"], row["best_of"]) for row in numbers["quality"]] == [
        (policy, n) for policy in ("SFT", "DPO") for n in (1, 2)
    ]
    assert all(cost["dollars"]["value"] > 0 for cost in numbers["cost"])
    assert (tmp_path / "out/quality_latency.png").stat().st_size > 10_000

    (tmp_path / "out/index.html").unlink()
    again = CliRunner().invoke(app, command)
    assert (again.exit_code, "serving" in again.output) == (0, False)
    assert (tmp_path / "out/index.html").is_file()
    other = CliRunner().invoke(app, [*command, "--set", "seed=1"])
    assert (other.exit_code, "holds a run with other settings" in other.output) == (2, True)
