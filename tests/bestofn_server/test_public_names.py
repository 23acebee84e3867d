"""What `from bestofn_server import ...` gives: the names, where they live, and that they do what they promise."""

import ast
import importlib
import inspect
from pathlib import Path

import pytest

import bestofn_server
from bestofn_server import read_comparisons


def test_the_names_are_these() -> None:
    """A name that goes or changes its meaning breaks somebody's code: say so in CHANGELOG."""
    assert bestofn_server.__all__ == [
        "BatchScorer",
        "Comparison",
        "DataError",
        "Demonstration",
        "Interval",
        "Score",
        "best_of_n",
        "bootstrap",
        "hold_out",
        "kl_bound_nats",
        "kl_bound_of_choice_nats",
        "kl_bound_of_response_nats",
        "load_reward_model",
        "mean_interval",
        "pass_at_k",
        "read_comparisons",
        "read_demonstrations",
        "read_prompts",
        "wilson",
        "win_rate_bound",
    ]


def test_a_checker_sees_the_names_where_they_are_at_run_time() -> None:
    source = Path(inspect.getfile(bestofn_server)).read_text(encoding="utf-8")
    typed = {
        alias.name: node.module
        for block in ast.parse(source).body
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == vars(bestofn_server)["_HOME_OF"]
    assert sorted(typed) == sorted(bestofn_server.__all__)


@pytest.mark.parametrize("name", bestofn_server.__all__)
def test_every_name_says_what_it_is(name: str) -> None:
    value = getattr(bestofn_server, name)
    assert value is getattr(importlib.import_module(value.__module__), name)
    assert len(inspect.getdoc(value) or "") > 30
    assert name in dir(bestofn_server)


def test_another_name_is_an_attribute_error() -> None:
    name = "load_model"
    with pytest.raises(AttributeError, match="module 'bestofn_server' has no attribute 'load_model'"):
        getattr(bestofn_server, name)


def test_preference_data_is_read(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"prompt": "q", "chosen": "good", "rejected": "bad"}\n', encoding="utf-8")
    (comparison,), report = read_comparisons(str(path))
    assert (comparison.best, report.taken) == (comparison.responses.index("good"), 1)
