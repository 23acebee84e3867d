"""`bestofn evaluate` from the command line to the files: its sub-commands, and its options without one."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bestofn_server.cli import app
from tests.training.openai_endpoint import completion, refusal, serving
from training.labs import arithmetic
from training.labs.arithmetic import solution

NOWHERE: dict[str, tuple[str, ...]] = {"server": ("--base-url", "http://127.0.0.1:9/v1"), "reward": (), "policy": ()}


def evaluate(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["evaluate", *arguments])


def mistaken(count: int, **more: object) -> list[dict[str, object]]:
    """The right answer and one with a mistake, as rows of a file."""
    questions = arithmetic.questions(count, "held_out", seed=5)
    return [
        {"prompt": q.text, "chosen": solution(q), "rejected": solution(q, mistake_at=0, mistake=2), **more}
        for q in questions
    ]


def write(path: Path, rows: list[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def is_picture(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10_000


def test_a_reward_model_on_a_file(tmp_path: Path) -> None:
    data, output = write(tmp_path / "pairs.jsonl", mistaken(40)), tmp_path / "out"
    result = evaluate("reward", "--reward-model", "arithmetic-reward", "--data", data, "--output", str(output))
    assert result.exit_code == 0, result.output
    assert "40 pairs of 40 prompts" in result.output
    report = json.loads((output / "report.json").read_text(encoding="utf-8"))
    assert report["reward_model"]["pairwise"]["accuracy"]["value"] >= 0.9
    assert report["policy"] is None
    assert all(is_picture(output / name) for name in ("calibration.png", "accuracy.png"))
    assert (output / "report.md").read_text(encoding="utf-8").strip() in result.output


def test_a_benchmark_is_scored_by_its_rule(tmp_path: Path) -> None:
    rows = mistaken(20, subset="math-prm") + mistaken(5, subset="mt-bench-hard")
    data = write(tmp_path / "bench.jsonl", rows)
    result = evaluate("reward", "--reward-model", "arithmetic-reward", "--data", data)
    assert result.exit_code == 0, result.output
    assert "## RewardBench: " in result.output
    assert "| **Chat Hard** |" in result.output
    assert "| math-prm | " in result.output


def test_a_policy_and_a_reward_model_together(tmp_path: Path) -> None:
    result = evaluate(
        *("policy", "--policy", "arithmetic-sft", "--reward-model", "arithmetic-reward", "--prompts", "4"),
        *("--samples", "2", "--sampler", "transformers", "--output", str(tmp_path)),
    )
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert list(report["reward_model"]["best_of_n"]["gold"]) == ["1", "2"]
    assert report["policy"]["samples"] == 2
    assert "## Beside what is free" in result.output
    assert "| one greedy answer | " in result.output
    assert set(report["reward_model"]["baselines"]["worth_over_best"]) == {"1", "2"}
    assert is_picture(tmp_path / "best_of_n.png")


def test_a_policy_alone_needs_no_reward_model() -> None:
    options = ["--policy", "arithmetic-sft", "--prompts", "3", "--samples", "2", "--sampler", "transformers"]
    result = evaluate("policy", *options)
    assert result.exit_code == 0, result.output
    assert "2 answers to each of 3 held-out prompts" in result.output
    assert "reward model" not in result.output


def test_a_server_for_each_best_of(tmp_path: Path) -> None:
    output = tmp_path / "report.json"
    options = ["--best-of", "2,1", "--prompts", "5", "--output", str(output)]
    with serving(lambda body: (200, completion(f"Answer: {body['best_of']}"))) as endpoint:
        result = evaluate("server", *options, "--base-url", endpoint.url)
    assert result.exit_code == 0, result.output
    assert [row["best_of"] for row in json.loads(output.read_text(encoding="utf-8"))["rows"]] == [1, 2]


def test_a_server_that_refuses_is_status_1() -> None:
    with serving(lambda _: (400, refusal("no"))) as endpoint:
        result = evaluate("server", "--best-of", "1", "--prompts", "2", "--base-url", endpoint.url)
    assert result.exit_code == 1
    assert "2 of 2 failed" in result.output


@pytest.mark.parametrize(
    ("arguments", "mode"),
    [
        ((), "server"),
        (("--prompts=2", "--lab", "none"), "server"),
        (("--reward-model", "arithmetic-reward", "--lab", "none"), "reward"),
        (("--reward-model=arithmetic-reward", "--data", "none.jsonl"), "reward"),
        (("--policy", "arithmetic-sft", "--lab", "none"), "policy"),
        (("--policy=arithmetic-sft", "--reward-model", "arithmetic-reward", "--lab", "none"), "policy"),
        (("--data", "none.jsonl", "--policy", "p", "--reward-model", "r"), "reward"),
    ],
)
def test_options_without_a_sub_command_choose_it(arguments: tuple[str, ...], mode: str) -> None:
    """With what fails at once, as it does with the sub-command."""
    old, new = evaluate(*arguments, *NOWHERE[mode]), evaluate(mode, *arguments, *NOWHERE[mode])
    hint = f"`bestofn evaluate` is now `bestofn evaluate {mode}`, with the same options"
    assert old.stderr == f"{hint}\n{new.stderr}"
    assert (old.exit_code, old.stdout) == (new.exit_code, new.stdout)
    assert old.exit_code == 2
    assert "is now" not in new.stderr


@pytest.mark.parametrize("asked", [["-h"], ["--help"]])
def test_help_lists_the_sub_commands(asked: list[str]) -> None:
    result = evaluate(*asked)
    assert result.exit_code == 0
    assert all(f"{mode}  Measure a " in result.output for mode in ("server", "reward", "policy"))
    assert "is now" not in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["server", "--best-of", "two"], "--best-of: expected"),
        (["server", "--lab", "geometry"], "no lab 'geometry'"),
        (["server", "--data", "x.jsonl"], "No such option: --data"),
        (["server", "--samples", "4"], "No such option: --samples"),
        (["server", "--lab-option", "wild=1"], "the lab arithmetic has no option 'wild'"),
        (["server", "--lab-option", "wild"], "expected key=value"),
        (["reward", "--data", "x.jsonl"], "Missing option '--reward-model'"),
        (["reward", "--reward-model", "r", "--best-of", "4"], "No such option: --best-of"),
        (["reward", "--reward-model", "r", "--against", "p"], "No such option: --against"),
        (["reward", "--reward-model", "r", "--policy", "p", "--data", "d"], "--data: a policy answers a lab's"),
        (["reward", "--reward-model", "r", "--data", "d", "--lab-option", "a=1"], "--lab-option: has no meaning with"),
        (["reward", "--reward-model", "arithmetic-sft", "--data", "{data}"], "is not a reward model"),
        (["reward", "--reward-model", "arithmetic-reward", "--data", "{data}.jsonl"], "error: "),
        (["reward", "--reward-model", "arithmetic-reward", "--sampler", "dice"], "must be auto, vllm or transformers"),
        (["policy", "--policy", "arithmetic-sft", "--lab", "geometry"], "no lab 'geometry'"),
        (["policy", "--policy", "p", "--split", "test"], "No such option: --split"),
        (["policy", "--policy", "arithmetic-sft", "--lab-option", "json_share=high"], "json_share: needs a number"),
    ],
)
def test_bad_arguments_are_named(arguments: list[str], message: str, tmp_path: Path) -> None:
    data = write(tmp_path / "pairs.jsonl", mistaken(2))
    result = evaluate(*(argument.format(data=data) for argument in arguments))
    assert result.exit_code == 2
    assert message in result.output
    assert isinstance(result.exception, SystemExit)


def test_a_mode_has_no_options_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    own = {mode: evaluate(mode, "--help").output for mode in ("server", "reward", "policy")}
    assert "--best-of" in own["server"]
    assert not any(option in own["server"] for option in ("--reward-model", "--policy", "--samples", "--data"))
    assert not any(option in own["reward"] for option in ("--best-of", "--base-url", "--reference", "--against"))
    assert not any(option in own["policy"] for option in ("--best-of", "--base-url", "--data", "--split"))
