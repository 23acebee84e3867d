"""Traces on disk: there and back, a server's candidate log, and what is said of anything else."""

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.samples.trace import Traced, TracedPrompt, TraceError, check_pools, from_answer, read, write

FULL = Traced(
    "a\u2028b",
    17,
    "stop",
    1.5,
    1.0,
    {"polite": 0.5},
    ((8, 0.25), (16, 0.5)),
    ((1, 0.1), (8, 0.2), (17, 0.5)),
    logprob=-3.5,
    self_certainty=2.5,
)
BARE = Traced("", 1, "length", -1.0)


def log_row(**changes: Any) -> dict[str, Any]:
    row = {
        "prompt": [{"role": "user", "content": "1+1?"}],
        "responses": ["2", "3", "4", "5"],
        "scores": {"polite": [0.1, None, 0.3, 0.4], "reward": [1.0, 2.0, 3.0, None]},
        "states": ["finished", "finished", "finished", "finished"],
        "finish_reasons": ["stop", "length", "stop", "stop"],
        "tokens": [3, 4, 5, 6],
        "growth_ms": [[[1, 10.0], [3, 20.0]], [], [], []],
        "prefix_rewards": [[[2, 0.5]], [], [], []],
        "strategy": "best_of_n",
        "stop_reason": "complete",
    }
    return row | changes


def test_a_trace_comes_back_as_it_was_written(tmp_path: Path) -> None:
    prompts = [TracedPrompt('[{"content": "p"}]', (FULL, FULL), 0.25), TracedPrompt("q", (FULL,))]
    write(tmp_path / "deep" / "trace.parquet", prompts)
    found = read(tmp_path / "deep" / "trace.parquet")
    assert found[0] == prompts[0]
    assert (found[1].prompt, found[1].candidates) == ("q", (FULL,))
    assert math.isnan(found[1].score_s)


def test_what_is_unknown_stays_unknown(tmp_path: Path) -> None:
    write(tmp_path / "t.parquet", [TracedPrompt("p", (BARE,))])
    (candidate,) = read(tmp_path / "t.parquet")[0].candidates
    assert math.isnan(candidate.gold)
    assert (candidate.rewards, candidate.prefix_rewards, candidate.growth) == ({}, (), ())
    assert (candidate.logprob, candidate.self_certainty) == (None, None)


def test_a_trace_from_before_log_probabilities_is_read_without_them(tmp_path: Path) -> None:
    write(tmp_path / "new.parquet", [TracedPrompt("p", (FULL,))])
    older = pq.read_table(tmp_path / "new.parquet").drop_columns(["logprob", "self_certainty"])
    pq.write_table(older, tmp_path / "old.parquet")
    (candidate,) = read(tmp_path / "old.parquet")[0].candidates
    assert (candidate.tokens, candidate.logprob, candidate.self_certainty) == (17, None, None)


def test_a_candidate_log_gives_back_what_the_engine_reported(tmp_path: Path) -> None:
    kept = log_row(logprobs=[-1.0, None, -3.0, -4.0], self_certainties=[1.5, None, 3.5, 4.5])
    (tmp_path / "a.jsonl").write_text(json.dumps(kept) + "\n")
    (found,) = read(tmp_path)
    assert [(one.logprob, one.self_certainty) for one in found.candidates] == [(-1.0, 1.5), (None, None), (-3.0, 3.5)]


def test_a_candidate_log_holds_those_that_finished_with_a_reward(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text(json.dumps(log_row(prompt="bare")) + "\n")
    (tmp_path / "a.jsonl").write_text(json.dumps(log_row()) + "\n" + json.dumps(log_row(states=["failed"] * 4)) + "\n")
    first, second = read(tmp_path)
    assert (json.loads(first.prompt), json.loads(second.prompt)) == ([{"role": "user", "content": "1+1?"}], "bare")
    assert [(one.text, one.tokens, one.reward) for one in first.candidates] == [
        ("2", 3, 1.0),
        ("3", 4, 2.0),
        ("4", 5, 3.0),
    ]
    assert [dict(one.rewards) for one in first.candidates] == [{"polite": 0.1}, {}, {"polite": 0.3}]
    assert first.candidates[0].growth == ((1, 0.01), (3, 0.02))
    assert first.candidates[0].prefix_rewards == ((2, 0.5),)
    assert read(tmp_path / "b.jsonl")[0] == second or math.isnan(second.score_s)


@pytest.mark.parametrize(
    "unfair",
    [
        {"strategy": "prune"},
        {"stop_reason": "deadline"},
        {"states": ["finished", "aborted", "finished", "finished"]},
        {"reward_weights": {"polite": -1.0}},
        {"ranks": [0, 1, 1, 1]},
    ],
)
def test_what_is_no_fair_sample_of_the_policy_is_left_out(tmp_path: Path, unfair: dict[str, Any]) -> None:
    (tmp_path / "log.jsonl").write_text(json.dumps(log_row(**unfair)) + "\n" + json.dumps(log_row()) + "\n")
    assert len(read(tmp_path)) == 1


def test_a_line_that_is_still_being_written_is_no_line_yet(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(json.dumps(log_row()) + "\n" + json.dumps(log_row())[:40])
    assert len(read(tmp_path)) == 1


@pytest.mark.parametrize(
    "line", ["{", "[]", "{}", '"text"', json.dumps(log_row(tokens=[1])), json.dumps(log_row(scores={}))]
)
def test_a_line_that_is_no_record_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "log.jsonl").write_text(json.dumps(log_row()) + "\n" + line + "\n")
    with pytest.raises(TraceError, match=r"log\.jsonl, line 2: is no record of a candidate log"):
        read(tmp_path)


def test_what_is_no_text_is_no_record_either(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_bytes(b"\xff\xfe\x00\n")
    with pytest.raises(TraceError, match=r"log\.jsonl, line 1"):
        read(tmp_path / "log.jsonl")


def test_a_folder_without_candidates_is_no_trace(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="holds no prompt with two"):
        read(tmp_path)


def test_a_parquet_file_of_something_else_is_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "other.parquet"
    pq.write_table(pa.table({"prompt": ["p"]}), path)
    with pytest.raises(TraceError, match=r"other\.parquet: is no trace: it has no column 'prompt_id'"):
        read(path)
    path.write_bytes(b"no parquet at all")
    with pytest.raises(TraceError, match=r"other\.parquet: is no trace"):
        read(path)
    write(path, [])
    with pytest.raises(TraceError, match="holds no prompt"):
        read(path)
    with pytest.raises(TraceError, match=r"none\.parquet: is no trace"):
        read(tmp_path / "none.parquet")


def told(**changes: Any) -> dict[str, Any]:
    candidate = {
        "index": 0,
        "text": "4",
        "completion_tokens": 9,
        "finish_reason": "stop",
        "reward": 1.0,
        "rewards": {"a": 0.5},
        "prefix_rewards": [[8, 0.5]],
        "growth_ms": [[1, 100.0], [9, 300.0]],
    }
    return {"candidates": [candidate | changes], "timing": {"score_ms": 40.0}}


def test_an_answer_becomes_a_prompt_of_a_trace() -> None:
    expected = Traced("4", 9, "stop", 1.0, 1.0, {"a": 0.5}, ((8, 0.5),), ((1, 0.1), (9, 0.3)))
    assert from_answer("p", told(), [1.0]) == TracedPrompt("p", (expected,), 0.04)


@pytest.mark.parametrize("changes", [{"reward": None}, {"text": None}])
def test_a_candidate_without_a_reward_is_no_part_of_a_trace(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="candidate 0 has no reward"):
        from_answer("p", told(**changes), [1.0])


def test_a_pool_must_hold_as_many_as_are_drawn() -> None:
    check_pools([TracedPrompt("p", (BARE, BARE))], 2)
    with pytest.raises(ValueError, match="--best-of 3: the trace holds only 1 candidates of some prompt"):
        check_pools([TracedPrompt("p", (BARE,) * 3), TracedPrompt("q", (BARE,))], 3)
