"""`bestofn collect` from the command line to its file, against small HTTP servers and the real one."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from bestofn_server.cli import app
from tests.server import API_KEY, Server
from tests.training.openai_endpoint import completion, refusal, serving
from training.data.read import read_comparisons
from training.labs import lab


def counting(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """As many different answers as are asked for."""
    return 200, completion(*map(str, range(body["n"])))


def collect(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["collect", *arguments])


def test_the_command_says_what_it_did(tmp_path: Path) -> None:
    output = tmp_path / "candidates.jsonl"
    asking = ["--output", str(output), "--lab", "arithmetic", "--prompts", "2", "--samples", "2"]
    with serving(counting) as endpoint:
        done = collect(*asking, "--base-url", endpoint.url)
    assert done.exit_code == 0, done.output
    assert "2 prompts sampled" in done.output
    with serving(lambda body: (400, refusal("no"))) as endpoint:
        failed = collect(*asking, "--prompts", "3", "--base-url", endpoint.url)
    assert failed.exit_code == 1
    assert "0 prompts sampled, 2 were there already\n1 prompts failed: BadRequestError" in failed.output


def test_options_of_the_lab_are_part_of_what_made_a_row(tmp_path: Path) -> None:
    output = tmp_path / "candidates.jsonl"
    asking = ["--output", str(output), "--lab", "arithmetic", "--prompts", "2", "--samples", "2"]
    with serving(counting) as endpoint:
        asking += ["--base-url", endpoint.url]
        done = collect(*asking, "--lab-option", "json_share=1")
        other = collect(*asking)
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert all(row["prompt"].endswith("Reply in JSON.") for row in rows)
    assert other.exit_code == 2
    assert "made with lab_options = {'json_share': 1}" in " ".join(other.output.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lab", "geometry", "--model", "m"], "no lab 'geometry'"),
        (["--lab", "arithmetic", "--model", "m", "--lab-option", "wild=1"], "has no option 'wild'"),
        (["--data", "nowhere.jsonl", "--model", "m"], "there is no file 'nowhere.jsonl'"),
        (["--lab", "arithmetic", "--base-url", "http://127.0.0.1:9/v1"], "no server answers at"),
        (["--lab", "arithmetic", "--model", "./nowhere"], "nowhere"),
        (["--lab", "arithmetic", "--model", "m", "--checkpoint-tokens", "4"], "--checkpoint-tokens: is read with"),
    ],
)
def test_bad_arguments_are_named(tmp_path: Path, arguments: list[str], message: str) -> None:
    result = collect("--output", str(tmp_path / "candidates.jsonl"), *arguments)
    assert result.exit_code == 2
    assert message in result.output


@pytest.mark.engine
def test_real_candidates_are_collected_and_labelled(server: Server, tmp_path: Path) -> None:
    candidates, labelled = tmp_path / "candidates.jsonl", tmp_path / "labelled.jsonl"
    asking = ["--lab", "arithmetic", "--prompts", "3", "--samples", "4"]
    done = collect("--output", str(candidates), *asking, "--base-url", f"{server.url}/v1", "--api-key", API_KEY)
    assert done.exit_code == 0, done.output
    comparisons, _ = read_comparisons(str(candidates))
    assert [len(c.responses) for c in comparisons] == [4] * 3
    assert all(len(set(c.scores["reward"])) >= len(set(c.responses)) for c in comparisons)
    scoring = ["--output", str(labelled), "--by", "gold", "--kind", "scores"]
    result = CliRunner().invoke(app, ["label", str(candidates), *scoring])
    assert result.exit_code == 0, result.output
    for comparison in read_comparisons(str(labelled))[0]:
        gold = [lab("arithmetic").gold(comparison.messages, text) for text in comparison.responses]
        assert list(comparison.scores["score"]) == gold
