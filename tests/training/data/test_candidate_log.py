"""What the server keeps in its candidate log, read by the trainers: scores of candidates and people's choices."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from service.records.candidate_log import candidate_rows
from service.records.choices import Preference, preference_row
from tests.service.fakes import FakeSampler, FakeScorer, make_ask, make_context, make_run, says
from training.data.read import read_comparisons
from training.reward.heads import HeadLayout, teaches

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
PROMPT = [{"role": "system", "content": "Add."}, {"role": "user", "content": "What is 1+1?"}]


def choice(of: Any) -> dict[str, Any]:
    body = {"prompt": PROMPT, "responses": ["2", "3"], "choice": of, "rewards": [0.5, None]}
    return preference_row(Preference.model_validate(body), NOON, "rewards")


async def logged() -> Any:
    run = make_run(FakeSampler(says("2"), says("3")), FakeScorer({"2": 1.0, "3": -1.0}))
    await run.best()
    (row,) = candidate_rows(make_context(run.ledger, ask=make_ask({"best_of": 2})), "ok", NOON, "rewards")
    return row


def write(directory: Path, *files: list[Any]) -> str:
    for number, rows in enumerate(files):
        (directory / f"candidates-{number}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(directory)


@pytest.mark.parametrize("people_first", [True, False])
async def test_scores_and_choices_in_one_folder_are_each_what_they_are(tmp_path: Path, people_first: bool) -> None:
    machine, people = await logged(), choice(1)
    rows = [people, machine] if people_first else [machine, people]
    comparisons, report = read_comparisons(write(tmp_path, rows, [choice(0)]))
    ranked = [comparison for comparison in comparisons if comparison.ranks]
    (scored,) = [comparison for comparison in comparisons if comparison.scores]
    assert [comparison.ranks for comparison in ranked] == [(1, 0), (0, 1)]
    assert all(comparison.messages == tuple(PROMPT) and not comparison.scores for comparison in ranked)
    assert (scored.ranks, dict(scored.scores)) == ((), {"reward": (1.0, -1.0)})
    assert (report.format, report.taken) == ("bestofn", 3)


async def test_each_loss_learns_from_its_own_kind_of_record(tmp_path: Path) -> None:
    comparisons, _ = read_comparisons(write(tmp_path, [await logged(), choice(1)]))
    heads = HeadLayout(dimensions=("reward",))
    assert [teaches(comparison, "pairs", heads) for comparison in comparisons] == [False, True]
    assert [teaches(comparison, "best_of_k", heads) for comparison in comparisons] == [False, True]
    assert [teaches(comparison, "regression", heads) for comparison in comparisons] == [True, False]


def test_a_tie_is_counted_as_one_and_left_out(tmp_path: Path) -> None:
    comparisons, report = read_comparisons(write(tmp_path, [choice("tie"), choice(0)]))
    assert (len(comparisons), dict(report.dropped)) == (1, {"tied": 1})
