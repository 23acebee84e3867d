"""Published benchmarks on rows small enough to score by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from measuring.estimators import Floats
from training.data.read import read_comparisons
from training.data.records import Comparison, user
from training.evaluation.benchmarks import reward_bench, reward_bench_2, rm_bench, score_benchmark, ties


def row(subset: str, right: int, wrong: int) -> Comparison:
    responses = tuple(f"r{index}" for index in range(right + wrong))
    return Comparison(user("q"), responses, ranks=(0,) * right + (1,) * wrong, subset=subset)


def rewards(*rows: list[float]) -> list[Floats]:
    return [np.array(values, float) for values in rows]


def test_reward_bench_weighs_subsets_within_sections() -> None:
    rows = [row("alpacaeval-easy", 1, 1)] * 2 + [row("mt-bench-med", 1, 1)] + [row("math-prm", 1, 1)] * 2
    rows += [row("hep-go", 1, 1), row("none of them", 1, 1)]
    scored = reward_bench(rows, rewards([1, 0], [0, 1], [1, 0], [1, 0], [1, 1], [0, 1], [1, 0]))
    assert scored.subsets["alpacaeval-easy"] == 0.5
    assert scored.subsets["math-prm"] == 0.5  # the equal pair is wrong
    assert scored.parts == pytest.approx(
        {"Chat": (0.5 * 100 + 1 * 40) / 140, "Reasoning": (0.5 * 984 + 0 * 164) / (984 + 164)}
    )
    assert scored.score == pytest.approx(np.mean(list(scored.parts.values())))
    assert scored.counts["hep-go"] == 1


def test_reward_bench_refuses_other_data() -> None:
    with pytest.raises(ValueError, match="no subset of its sections among other"):
        reward_bench([row("other", 1, 1)], rewards([1, 0]))


def test_reward_bench_2_shares_the_top_among_ties() -> None:
    rows = [row("Math", 1, 3)] * 3 + [row("Focus", 1, 3)]
    scored = reward_bench_2(rows, rewards([2, 2, 0, 0], [3, 2, 1, 0], [0, 1, 0, 0], [1, 1, 1, 1]))
    assert scored.parts == pytest.approx({"Math": (0.5 + 1 + 0) / 3, "Focus": 0.25})
    assert scored.score == pytest.approx((0.5 + 0.25) / 2)


def test_ties_by_hand() -> None:
    """Of question 1, gaps 2 (tied) and 1 (ref), spread 1; of question 2, gaps -1 and 3, spread 2."""
    rows = [row("Ties/tied:1", 2, 1), row("Ties/ref:1", 1, 1), row("Ties/tied:2", 2, 2), row("Ties/ref:2", 1, 2)]
    given = rewards([5, 4, 2], [1, 0], [3, 1, 2, 0], [4, 1, 0])
    found = ties(rows, given)
    margin = (np.tanh(1 / 1 - 1) + np.tanh(-1 / 2 - 1)) / 2
    assert found == pytest.approx(
        {
            "accuracy (tied)": 0.5,
            "accuracy (ref)": 1.0,
            "preferred": 0.5,
            "preferred hard": 0.0,  # of question 1, the smaller gap 1 is not above the spread 1
            "margin": margin,
            "score": 0.3 * 0.5 + 0.3 * 1 + 0.2 * 0.5 + 0.01 * margin,
        }
    )
    whole = reward_bench_2([*rows, row("Math", 1, 1)], [*given, np.array([1.0, 0.0])])
    assert whole.score == pytest.approx((found["score"] + 1) / 2)
    assert whole.counts["Ties"] == 4


def test_ties_without_any_spread_have_margin_zero_where_the_gap_is_zero_too() -> None:
    rows = [row("Ties/tied:1", 2, 1), row("Ties/ref:1", 1, 1)]
    assert ties(rows, rewards([1, 1, 1], [1, 1]))["margin"] == 0
    assert ties(rows, rewards([1, 1, 0], [1, 0]))["margin"] == 1


def test_ties_need_both_twins() -> None:
    with pytest.raises(ValueError, match="comes with its `ref:N`"):
        ties([row("Ties/tied:1", 2, 1)], rewards([1, 1, 0]))
    with pytest.raises(ValueError, match="expected an id such as ref:7"):
        ties([row("Ties/17", 2, 1)], rewards([1, 1, 0]))


def test_rm_bench_matrix_by_hand() -> None:
    """The reward likes style: chosen 0 1 2, rejected 0.5 1.5 2.5: only a chosen one of a better style wins."""
    rows = [row("chat", 3, 3), row("safety-refuse", 3, 3), row("safety-response", 3, 3)]
    scored = rm_bench(rows, rewards([0, 1, 2, 0.5, 1.5, 2.5], [1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]))
    assert scored.subsets == pytest.approx({"chat": 3 / 9, "safety-refuse": 1, "safety-response": 0})
    assert scored.parts == pytest.approx({"chat": 1 / 3, "safety": 0.5})
    assert scored.details == pytest.approx({"hard": 0.25, "normal": 0.25, "easy": 0.75})
    assert scored.score == pytest.approx((1 / 3 + 1 / 2) / 2)
    with pytest.raises(ValueError, match="RM-Bench: expected 3 chosen"):
        rm_bench([row("chat", 2, 3)], rewards([1, 1, 1, 1, 1]))


def test_files_are_scored_by_the_rule_of_their_format(tmp_path: Path) -> None:
    files: dict[str, list[dict[str, Any]]] = {
        "RewardBench": [{"prompt": "q", "chosen": "a", "rejected": "b", "subset": "math-prm", "id": 1}],
        "RewardBench 2": [
            {"id": "0", "prompt": "q", "chosen": ["a"], "rejected": ["b", "c"], "subset": "Math"},
            {"id": "tied:3", "prompt": "q", "chosen": ["a", "d"], "rejected": ["b"], "subset": "Ties"},
            {"id": "ref:3", "prompt": "q", "chosen": ["a"], "rejected": ["b"], "subset": "Ties"},
        ],
        "RM-Bench": [{"prompt": "q", "chosen": ["a", "b", "c"], "rejected": ["d", "e", "f"], "domain": "math"}],
    }
    for name, rows in files.items():
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in rows), encoding="utf-8")
        comparisons, report = read_comparisons(str(path))
        given = [10.0 - 9 * np.array(c.ranks) for c in comparisons]
        scored = score_benchmark(report.format, comparisons, given)
        assert scored is not None
        assert scored.name == name
        assert scored.score == pytest.approx(1.0, abs=0.01)
    assert score_benchmark("TRL preference", [], []) is None
