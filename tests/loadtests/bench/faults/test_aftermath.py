"""Replies by their time, tokens that add up or do not, records that are there or not."""

import json
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

import loadtests.bench.faults.aftermath
from loadtests.bench.faults.aftermath import (
    Counted,
    judged_after,
    note_records,
    quiet,
    read_counters,
    settle,
    tokens_wrong,
    unrecorded,
)
from loadtests.bench.faults.judge import Verdict
from loadtests.bench.faults.life import Log
from loadtests.bench.faults.record import Fault
from loadtests.bench.faults.traffic import CHAT, Traffic
from measuring.scrape import Scrape
from tests.loadtests.bench.faults.lives import reply, tiny_life

TEXT = """vllm:generation_tokens_total{engine="0"} 12
bestofn_generated_tokens_total{fate="returned"} 4
bestofn_generated_tokens_total{fate="rejected"} 7
vllm:num_requests_running 2
vllm:num_requests_waiting 3
bestofn_candidates_in_flight 1
bestofn_candidate_log_records_total{outcome="written"} 9
bestofn_candidate_log_records_total{outcome="failed"} 5
"""
_USAGE = "the answers' usage adds up to {} tokens, and we counted 100"
ANSWER = json.dumps({"choices": [{"finish_reason": "stop"}], "rerank": {"reward": 1.0}}).encode()


def test_counters_are_read_from_the_metrics() -> None:
    samples = tuple(s for family in text_string_to_metric_families(TEXT) for s in family.samples)
    assert read_counters(Scrape(samples)) == Counted(engine=12, ours=11, leaked=6, written=9)


@pytest.mark.parametrize(
    ("engine", "ours", "verdicts", "wrong"),
    [
        (100, 100, [Verdict("answer", tokens=60), Verdict("answer", tokens=40)], []),
        (100, 100, [Verdict("answer", tokens=60), Verdict("left")], []),
        (100, 100, [Verdict("answer", tokens=60)], [_USAGE.format(60)]),
        (100, 100, [Verdict("answer", tokens=160), Verdict("left")], [_USAGE.format(160)]),
        (103, 100, [Verdict("answer", tokens=100)], ["vLLM generated 103 tokens, of which we counted 100"]),
    ],
)
def test_tokens_add_up(engine: int, ours: int, verdicts: list[Verdict], wrong: list[str]) -> None:
    before = Counted(engine=1000, ours=500, leaked=0, written=0)
    assert tokens_wrong(before, Counted(1000 + engine, 500 + ours, 0, 0), verdicts) == wrong


def test_only_what_ended_after_the_fault_is_judged_and_timed_from_its_end() -> None:
    replies = [
        reply(body=ANSWER, sent_s=sent_s, ended_s=ended_s) for sent_s, ended_s in [(0, 1), (0, 3), (4, 9), (7, 8)]
    ]
    assert [round(one.after_s, 3) for one in judged_after(replies, 2.0)] == [1, 5, 1]
    assert [round(one.after_s, 3) for one in judged_after(replies, 2.0, until_s=5.0)] == [0, 4, 1]


def test_a_ranked_answer_without_a_record_is_lost() -> None:
    kept, lost, plain = reply(body=ANSWER), reply(body=ANSWER), reply(body=ANSWER.replace(b"1.0", b"null"))
    log = Log(frozenset({kept.asked.request_id}), torn=0, open_ends=1)
    assert unrecorded([kept, lost, plain], log) == [lost.asked.request_id]
    fault = Fault("disk", "recording", "full")
    note_records(fault, [kept, lost, plain], log, is_over=False)
    assert fault.records_lost == 1
    assert fault.wrong == [f"1 ranked answers have no record, such as {lost.asked.request_id}"]


@pytest.mark.parametrize(
    ("torn", "open_ends", "is_over", "wrong"), [(0, 1, False, 0), (0, 1, True, 1), (1, 0, False, 1)]
)
def test_a_torn_line_is_wrong_and_an_open_end_once_nobody_writes(
    torn: int, open_ends: int, is_over: bool, wrong: int
) -> None:
    fault = Fault("disk", "recording", "full")
    note_records(fault, [], Log(frozenset(), torn, open_ends), is_over=is_over)
    assert len(fault.wrong) == wrong


async def test_a_server_that_lives_on_is_looked_at_when_it_is_quiet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loadtests.bench.faults.aftermath, "_COMMIT_S", 0.2)
    async with tiny_life(tmp_path) as life:
        before = await quiet(life)
        traffic = Traffic(life.url, [(CHAT, False)])
        replies = await traffic.finish()
        fault = Fault("stop", "decode", "api")
        await settle(life, before, replies, fault)
        assert (fault.tokens_off, fault.leaked, fault.records_lost, fault.wrong) == (0, 0, 0, [])
        await settle(life, before, [*replies, reply(body=ANSWER)], fault)
        assert fault.records_lost == 1
