"""`bestofn replay` from the command line to its files."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bestofn_server.cli import app
from service.rerank.strategies.adaptive import AdaptiveOptions
from service.rerank.strategies.profile import StrategyProfile
from service.rerank.strategies.prune import PruneOptions
from tests.training.experiments.replay.pools import STEP, pool
from training.samples.trace import write


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    write(tmp_path / "trace.parquet", pool(4, 6))
    return tmp_path / "trace.parquet"


def bestofn(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["replay", *map(str, arguments), "--draws", "2"])


def test_the_command_shows_each_strategy_and_writes_its_numbers(trace: Path, tmp_path: Path) -> None:
    output = tmp_path / "deep" / "numbers.json"
    limit = '{"strategy": "best_of_n", "stop_after": 2}'
    asked = ["--strategy", "prune", "--strategy", "adaptive", "--rerank", limit]
    result = bestofn(trace, "--best-of", 4, *asked, "--output", output)
    assert result.exit_code == 0, result.output
    names = ["best_of_n", "prune", "adaptive", "best_of_n stop_after 2"]
    assert [line.split(" | ")[0][2:] for line in result.output.splitlines()[2:6]] == names
    numbers = json.loads(output.read_text())
    assert [played["name"] for played in numbers["played"]] == names
    assert numbers["played"][3]["stop_reasons"] == {"enough": 1.0}
    assert "Rank correlation" in result.output


def test_the_command_learns_a_profile_that_a_server_reads(trace: Path, tmp_path: Path) -> None:
    result = bestofn(trace, "--best-of", 4, "--strategy", "prune", "--learn", tmp_path / "deep" / "profile.json")
    assert result.exit_code == 0, result.output
    profile = StrategyProfile.read(str(tmp_path / "deep" / "profile.json"))
    assert profile.complete(PruneOptions()).checkpoint_tokens == STEP
    assert profile.complete(AdaptiveOptions()).prior != AdaptiveOptions().prior
    again = bestofn(trace, "--best-of", 4, "--strategy", "prune", "--profile", tmp_path / "deep" / "profile.json")
    assert again.exit_code == 0, again.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rerank", "{"], "--rerank: not JSON"),
        (["--rerank", "[1]"], "--rerank: must be a JSON object"),
        (["--rerank", '{"keeps": 1}'], "rerank.keeps is not a known key"),
        (["--rerank", '{"keep": 0.5}'], "rerank.keep belongs to strategy prune"),
        (["--strategy", "worst_of_n"], "rerank.strategy"),
        (["--best-of", "7"], "--best-of 7: the trace holds only 6 candidates"),
        (["--best-of", "7", "--learn", "never.json"], "--best-of 7: the trace holds only 6 candidates"),
        (["--profile", "none.json"], "none.json: No such file"),
        (["--profile", "a", "--learn", "b"], "exclude each other"),
        (["--miss", "0.1"], "--miss: is read with --learn only"),
    ],
)
def test_what_cannot_be_played_is_said_in_a_line(trace: Path, arguments: list[str], message: str) -> None:
    result = bestofn(trace, *(["--best-of", 4] if "--best-of" not in arguments else []), *arguments)
    assert (result.exit_code, result.exception.__class__) == (2, SystemExit)
    assert message in result.output


def test_a_file_that_is_no_trace_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_text("no")
    for path in (tmp_path / "x.parquet", tmp_path / "none.jsonl", tmp_path):
        result = bestofn(path)
        assert (result.exit_code, result.exception.__class__) == (2, SystemExit)
        assert str(path) in result.output
