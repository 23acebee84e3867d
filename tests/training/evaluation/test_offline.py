"""`bestofn evaluate --reward-model` and `--policy` from the command line to the files, with the bundled checkpoints."""

import json
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner, Result

from bestofn_server.commands.evaluate import evaluate
from training.labs import arithmetic
from training.labs.arithmetic import solution


def run(*arguments: str) -> Result:
    app = Typer()
    app.command()(evaluate)
    return CliRunner().invoke(app, arguments)


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
    data = write(tmp_path / "pairs.jsonl", mistaken(40))
    result = run("--reward-model", "arithmetic-reward", "--data", data, "--output", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    assert "40 pairs of 40 prompts" in result.output
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["reward_model"]["pairwise"]["accuracy"]["value"] >= 0.9
    assert report["policy"] is None
    assert all(is_picture(tmp_path / "out" / name) for name in ("calibration.png", "accuracy.png"))
    assert (tmp_path / "out" / "report.md").read_text(encoding="utf-8").strip() in result.output


def test_a_benchmark_is_scored_by_its_rule(tmp_path: Path) -> None:
    rows = mistaken(20, subset="math-prm") + mistaken(5, subset="mt-bench-hard")
    result = run("--reward-model", "arithmetic-reward", "--data", write(tmp_path / "bench.jsonl", rows))
    assert result.exit_code == 0, result.output
    assert "## RewardBench: " in result.output
    assert "| **Chat Hard** |" in result.output
    assert "| math-prm | " in result.output


def test_both_in_a_lab_from_one_set_of_samples(tmp_path: Path) -> None:
    result = run(
        *("--reward-model", "arithmetic-reward", "--policy", "arithmetic-sft", "--reference", "arithmetic-sft"),
        *("--against", "arithmetic-sft", "--prompts", "12", "--samples", "6", "--sampler", "transformers"),
        *("--output", str(tmp_path)),
    )
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    curve, policy = report["reward_model"]["best_of_n"], report["policy"]
    assert list(curve["gold"]) == ["1", "2", "4", "6"]
    assert curve["gold"]["1"]["value"] == pytest.approx(policy["gold"]["value"])
    assert curve["proxy"]["1"]["value"] == pytest.approx(policy["proxy"]["value"])
    assert policy["kl"]["value"] == 0
    assert 0.2 < policy["win_rate"]["wins"]["value"] < 0.8
    assert report["reward_model"]["pairwise"]["by_label_margin"] == []
    assert is_picture(tmp_path / "best_of_n.png")


def test_a_policy_alone_needs_no_reward_model() -> None:
    result = run("--policy", "arithmetic-sft", "--prompts", "3", "--samples", "2", "--sampler", "transformers")
    assert result.exit_code == 0, result.output
    assert "2 answers to each of 3 held-out prompts" in result.output
    assert "reward model" not in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--reward-model", "arithmetic-sft", "--data", "{data}"), "is not a reward model"),
        (("--reward-model", "arithmetic-reward", "--data", "{data}.jsonl"), "error: "),
        (("--policy", "arithmetic-sft", "--lab", "geometry"), "no lab 'geometry'"),
        (("--reward-model", "arithmetic-reward", "--sampler", "dice"), "must be auto, vllm or transformers"),
    ],
)
def test_what_cannot_be_measured_is_one_line(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    data = write(tmp_path / "pairs.jsonl", mistaken(2))
    result = run(*(argument.format(data=data) for argument in arguments))
    assert result.exit_code == 2
    assert message in result.output
    assert isinstance(result.exception, SystemExit)
