"""What is kept of a request, and that it is kept: full disks, slow disks, kill -9."""

import asyncio
import errno
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

import service.records.candidate_log
from reward.conversation import Answer, Conversation
from service.http.dependencies import Dependencies
from service.http.gateway import Gateway
from service.http.recorder import Recorder
from service.load.admission import Admission
from service.load.lifecycle import Lifecycle
from service.observe.metrics import Metrics
from service.records.candidate_log import CandidateLog, Outcome, Row, candidate_rows
from service.rerank.ledger import CandidateRecord, Ledger
from service.rerank.plan import make_plan
from service.rerank.selection import Choice
from service.rerank.strategies import Candidate
from tests.service.fakes import (
    CONVERSATION,
    LIMITS,
    PATIENCE_S,
    QUESTION,
    FakeSampler,
    FakeScorer,
    FakeVllm,
    Script,
    call,
    cancelled,
    make_ask,
    make_context,
    make_run,
    plan_for,
    says,
    until,
)

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
FULL = OSError(errno.ENOSPC, "No space left on device")
HUGE = 10**9


def row(number: int, text: str = "answer") -> Row:
    return {"prompt": QUESTION, "responses": [text], "number": number}


def read(directory: Path) -> tuple[list[Any], int]:
    """All records, and how many files end in half a one; half a record anywhere else is an error."""
    rows, torn = [], 0
    for path in sorted(directory.glob("*.jsonl")):
        *lines, rest = path.read_bytes().split(b"\n")
        rows += [json.loads(line) for line in lines]
        torn += rest != b""
    return rows, torn


def numbers(directory: Path) -> list[int]:
    rows, torn = read(directory)
    assert torn == 0
    return sorted(row["number"] for row in rows)


class Kept:
    """A log with its counts. Nothing in it waits for a clock."""

    def __init__(self, directory: Path, max_bytes: int = HUGE, **options: Any) -> None:
        self.counts: Counter[Outcome] = Counter()
        self._lock = threading.Lock()
        quick = {"commit_interval_s": 0.0, "retry_s": 0.0}
        self.log = CandidateLog(directory, max_bytes, self._count, **(quick | options))

    def _count(self, outcome: Outcome, records: int) -> None:
        with self._lock:
            self.counts[outcome] += records

    def up(self) -> bool:
        return self.log.up

    @property
    def settled(self) -> int:
        return sum(self.counts.values())

    def wait_settled(self, records: int) -> None:
        ends_s = time.monotonic() + PATIENCE_S
        while self.settled < records:
            assert time.monotonic() < ends_s, self.counts
            time.sleep(0.001)


@contextmanager
def kept(directory: Path, *args: Any, **options: Any) -> Iterator[Kept]:
    opened = Kept(directory, *args, **options)
    with opened.log:
        yield opened


# -- what is kept


def ledger(conversation: Conversation | None = CONVERSATION) -> Ledger:
    """A winner, one that could not be scored, one that was cut off and one that failed."""
    views = [
        Candidate(0, "finished", tokens=5, finish_reason="stop", finish_rank=0, reward=1.5),
        Candidate(1, "finished", tokens=7, finish_reason="length", finish_rank=1, unscored=True),
        Candidate(2, "aborted", tokens=2, finish_reason="abort"),
        Candidate(3, "failed", tokens=0),
    ]
    texts = ("one ", "two ", "thr", "")
    heads: Sequence[dict[str, float]] = ({"help": 2.0, "tone": float("nan")}, {}, {}, {})
    records = [
        CandidateRecord(replace(view, rewards=head), pieces=list(text))
        for view, text, head in zip(views, texts, heads, strict=True)
    ]
    return Ledger(plan_for(4), records=records, conversation=conversation, choice=Choice((0,)), stop_reason="complete")


def test_a_record_holds_everything_that_is_known_of_a_prompt() -> None:
    context = make_context(ledger(), ask=make_ask({"best_of": 4, "model": "policy:best-of-2"}))
    context.request_id = "abc"
    (kept_row,) = candidate_rows(context, "ok", NOON, "rewards/1")
    assert json.loads(json.dumps(kept_row)) == {
        "prompt": [{"role": "user", "content": "What is 1+1?"}],
        "scored_as": "conversation",
        "responses": ["one ", "two ", "thr", ""],
        "scores": {"help": [2.0, None, None, None], "tone": [None] * 4, "reward": [1.5, None, None, None]},
        "selected": [0],
        "states": ["finished", "finished", "aborted", "failed"],
        "finish_reasons": ["stop", "length", "abort", None],
        "tokens": [5, 7, 2, 0],
        "growth_ms": [[], [], [], []],
        "prefix_rewards": [[], [], [], []],
        "best_of": 4,
        "strategy": "best_of_n",
        "stop_reason": "complete",
        "request_id": "abc",
        "time": "2026-01-02T12:00:00.000+00:00",
        "model": "policy",
        "reward_model": "rewards/1",
        "outcome": "ok",
    }


def test_the_client_s_start_of_the_answer_is_part_of_every_response() -> None:
    context = make_context(ledger(Conversation(QUESTION, answer_start="Sure: ")))
    assert candidate_rows(context, "ok", NOON, None)[0]["responses"][0] == "Sure: one "


def test_a_bare_prompt_is_kept_as_text() -> None:
    (row,) = candidate_rows(make_context(ledger(replace(CONVERSATION, bare=True))), "ok", NOON, None)
    assert row["prompt"] == "What is 1+1?"


def test_a_prompt_that_was_read_as_it_stands_is_kept_as_it_stands() -> None:
    (row,) = candidate_rows(make_context(ledger(Conversation((), text="<|x|>", scored_as="text"))), "ok", NOON, None)
    assert (row["prompt"], row["scored_as"]) == ("<|x|>", "text")


def test_tools_and_what_was_not_read_of_the_request_are_kept() -> None:
    offered = replace(CONVERSATION, tools=({"name": "add"},), variables={"mood": "kind"}, left_out=("tools",))
    (row,) = candidate_rows(make_context(ledger(offered)), "ok", NOON, None)
    assert (row["tools"], row["variables"], row["left_out"]) == (({"name": "add"},), {"mood": "kind"}, ("tools",))


def test_thinking_and_tool_calls_are_kept_apart_from_the_answer() -> None:
    def read(text: str, finished: bool) -> Answer:
        return {"one ": Answer("ne ", reasoning="o"), "two ": Answer("", tool_calls=({"name": "two"},))}.get(
            text, Answer(text)
        )

    (row,) = candidate_rows(make_context(ledger(replace(CONVERSATION, read=read))), "ok", NOON, None)
    assert row["responses"] == ["ne ", "two ", "thr", ""]
    assert (row["reasoning"], row["tool_calls"]) == (["o", None, None, None], [None, ({"name": "two"},), None, None])


def test_each_prompt_is_a_record_but_not_one_that_nothing_was_ranked_for() -> None:
    context = make_context(
        ledger(), ledger(conversation=None), Ledger(plan_for(2), conversation=CONVERSATION), ledger()
    )
    assert len(candidate_rows(context, "ok", NOON, None)) == 2


async def test_an_answer_that_was_passed_on_is_kept_when_its_reward_was_asked_for() -> None:
    plan = make_plan(make_ask({"rerank": {}}), n=1, temperature=1.0, checkpoint_tokens=None)
    run = make_run(FakeSampler(says("a")), FakeScorer({"a": 0.5}), plan=plan)
    await run.best()
    (kept_row,) = candidate_rows(make_context(run.ledger), "ok", NOON, None)
    assert kept_row["scores"]["reward"] == [0.5]


# -- through the gateway


def gateway(inner: FakeVllm, log: CandidateLog) -> Gateway:
    metrics = Metrics(CollectorRegistry(), "0")
    return Gateway(inner, Dependencies(LIMITS, Admission(512), Recorder(metrics, log), Lifecycle()))


def two() -> FakeSampler:
    return FakeSampler(says("a"), says("bb"))


async def test_an_answered_request_is_kept_as_it_was_answered(tmp_path: Path) -> None:
    inner = FakeVllm(two, FakeScorer({"a": 1.0, "bb": 2.0}))
    with kept(tmp_path) as opened:
        reply = await call(gateway(inner, opened.log), {"best_of": 2}, headers={"x-request-id": "r1"})
    (kept_row,), _ = read(tmp_path)
    answered = reply.json["rerank"]
    assert kept_row["scores"]["reward"] == [candidate["reward"] for candidate in answered["candidates"]] == [1.0, 2.0]
    assert kept_row["selected"] == answered["selected"] == [1]
    assert (kept_row["responses"], kept_row["request_id"], kept_row["outcome"]) == (["a", "bb"], "r1", "ok")


async def test_a_client_that_leaves_leaves_what_there_was(tmp_path: Path) -> None:
    inner = FakeVllm(lambda: FakeSampler(says("a"), Script(("b", "b"), held=True)), FakeScorer({"a": 1.0}))
    with kept(tmp_path) as opened:
        asking = asyncio.create_task(call(gateway(inner, opened.log), {"best_of": 2}))
        await until(lambda: bool(inner.runs) and bool(inner.runs[0].ledger.rewards))
        await cancelled(asking)
    (kept_row,), _ = read(tmp_path)
    assert (kept_row["outcome"], kept_row["responses"]) == ("cancelled", ["a", "b"])
    assert (kept_row["states"], kept_row["scores"]["reward"]) == (["finished", "aborted"], [1.0, None])


async def test_a_full_disk_neither_stops_nor_changes_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise FULL

    inner = FakeVllm(two, FakeScorer({"a": 1.0, "bb": 2.0}))
    with kept(tmp_path) as opened, monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        replies = [await call(gateway(inner, opened.log), {"best_of": 2}) for _ in range(5)]
        opened.wait_settled(5)
        assert not opened.up()
    assert [reply.json["rerank"]["selected"] for reply in replies] == [[1]] * 5
    assert opened.counts == {"written": 0, "dropped": 0, "failed": 5}


# -- that it is kept


@pytest.mark.parametrize("text", ["\n\r\u2028\x00", "äß漢字🙂", '"quoted"\\'])
def test_any_text_comes_back_as_it_was(tmp_path: Path, text: str) -> None:
    with kept(tmp_path) as opened:
        opened.log.put(row(1, text))
    assert read(tmp_path)[0][0]["responses"] == [text]


def test_half_a_surrogate_pair_does_not_make_a_line_that_readers_refuse(tmp_path: Path) -> None:
    with kept(tmp_path) as opened:
        opened.log.put(row(1, "half a pair: \ud83d"))
    assert read(tmp_path)[0][0]["responses"] == ["half a pair: ?"]


def test_records_are_written_in_their_order_and_counted_when_they_are_safe(tmp_path: Path) -> None:
    with kept(tmp_path) as opened:
        for number in range(100):
            opened.log.put(row(number))
        opened.wait_settled(100)
        assert [kept_row["number"] for kept_row in read(tmp_path)[0]] == list(range(100))
    assert opened.counts == {"written": 100, "dropped": 0, "failed": 0}


def test_closing_writes_what_is_queued_and_refuses_what_comes_later(tmp_path: Path) -> None:
    with kept(tmp_path, commit_interval_s=3600) as opened:
        for number in range(10):
            opened.log.put(row(number))
    opened.log.put(row(10))
    assert numbers(tmp_path) == list(range(10))
    assert opened.counts == {"written": 10, "dropped": 1, "failed": 0}


def test_files_rotate_and_each_is_within_its_size(tmp_path: Path) -> None:
    size = 3 * len(json.dumps(row(10), separators=(",", ":")) + "\n")
    with kept(tmp_path, size) as opened:
        for number in range(10, 40):
            opened.log.put(row(number))
            if number % 7 == 0:
                opened.wait_settled(number - 9)
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert numbers(tmp_path) == list(range(10, 40))
    assert len(sizes) >= 10
    assert max(sizes) <= size


def test_a_record_that_is_longer_than_a_file_is_kept_whole(tmp_path: Path) -> None:
    with kept(tmp_path, 100) as opened:
        for number in range(3):
            opened.log.put(row(number, "x" * 1000))
    assert numbers(tmp_path) == [0, 1, 2]
    assert len(list(tmp_path.iterdir())) == 3


def test_half_a_line_of_a_former_process_stays_the_last_of_its_file(tmp_path: Path) -> None:
    torn = tmp_path / "candidates-20250101T000000Z-1-0.jsonl"
    torn.write_bytes(b'{"number":1}\n{"numb')
    with kept(tmp_path) as opened:
        opened.log.put(row(2))
    rows, count = read(tmp_path)
    assert ([kept_row["number"] for kept_row in rows], count) == ([1, 2], 1)


def test_what_is_no_json_is_counted_and_the_rest_is_kept(tmp_path: Path) -> None:
    with kept(tmp_path) as opened:
        for odd in (object(), float("nan")):
            opened.log.put({**row(1), "odd": odd})
        opened.log.put(row(2))
    assert numbers(tmp_path) == [2]
    assert opened.counts == {"written": 1, "dropped": 0, "failed": 2}


class Fatal(dict[str, Any]):
    """Part of a record that raises when it is made JSON."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error=error)

    def items(self) -> Any:
        raise self["error"]


def test_a_record_that_memory_cannot_hold_is_counted_and_the_rest_is_kept(tmp_path: Path) -> None:
    with kept(tmp_path) as opened:
        lost = opened.log.put({**row(1), "odd": Fatal(MemoryError())})
        opened.log.put(row(2))
    assert isinstance(lost.exception(PATIENCE_S), MemoryError)
    assert numbers(tmp_path) == [2]
    assert opened.counts == {"written": 1, "dropped": 0, "failed": 1}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # the one that is provoked here
def test_nothing_is_queued_for_a_thread_that_has_died(tmp_path: Path) -> None:
    with kept(tmp_path) as opened:
        opened.log.put({**row(1), "odd": Fatal(SystemExit())})
        opened.log._thread.join()
        assert not opened.up()
        with pytest.raises(BufferError, match="it is closed"):
            opened.log.put(row(2)).result(PATIENCE_S)
        assert opened.counts["dropped"] == 1


def test_many_threads_lose_nothing(tmp_path: Path) -> None:
    with kept(tmp_path, 5000) as opened:

        def put(first: int) -> None:
            for number in range(first, first + 200):
                opened.log.put(row(number))

        threads = [threading.Thread(target=put, args=(200 * index,)) for index in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert numbers(tmp_path) == list(range(1600))


# -- disks that are slow


@contextmanager
def stuck_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Nothing gets safe before the event is set."""
    fsync, released = os.fsync, threading.Event()

    def wait(descriptor: int) -> None:
        released.wait()
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", wait)
        try:
            yield released
        finally:
            released.set()


def test_a_stuck_disk_makes_nobody_wait_and_what_finds_no_room_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kept(tmp_path, queue_characters=100_000) as opened, stuck_disk(monkeypatch) as released:
        started_s = time.monotonic()
        for number in range(1000):
            opened.log.put(row(number))
        assert time.monotonic() - started_s < 1
        assert opened.counts["written"] == 0
        assert not opened.up()
        dropped = opened.counts["dropped"]
        assert 850 < dropped < 1000
        released.set()
        opened.wait_settled(1000)
        opened.log.put(row(1000))
        opened.wait_settled(1001)
        assert opened.up()
    assert numbers(tmp_path) == [*range(1000 - dropped), 1000]


def test_a_disk_that_stays_stuck_does_not_hold_up_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Kept(tmp_path)
    with stuck_disk(monkeypatch):
        opened.log.__enter__()
        opened.log.put(row(1))
        while opened.log._queue:  # the writer has taken it
            time.sleep(0.001)
        opened.log.put(row(2))
        opened.log.close(within_s=0.05)
        assert opened.counts == {"written": 0, "dropped": 1, "failed": 0}
    opened.log.close()
    assert opened.counts == {"written": 1, "dropped": 1, "failed": 0}


# -- disks that are full


def test_writing_goes_on_when_there_is_room_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise FULL

    with kept(tmp_path) as opened:
        opened.log.put(row(1))
        opened.wait_settled(1)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            opened.log.put(row(2))
            opened.wait_settled(2)
            assert not opened.up()
        opened.log.put(row(3))
        opened.wait_settled(3)
        assert opened.up()
    assert numbers(tmp_path) == [1, 3]
    assert opened.counts == {"written": 2, "dropped": 0, "failed": 1}


def test_half_a_line_that_cannot_be_taken_back_stays_the_last_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def write_half(descriptor: int, data: bytes) -> int:
        if len(data) < 20:
            raise FULL
        return write(descriptor, data[: len(data) // 2])

    def fail(*_: int) -> None:
        raise FULL

    with kept(tmp_path) as opened:
        opened.log.put(row(1))
        opened.wait_settled(1)
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", write_half)
            patch.setattr(os, "ftruncate", fail)
            opened.log.put(row(2))
            opened.wait_settled(2)
        opened.log.put(row(3))
    rows, torn = read(tmp_path)
    assert ([kept_row["number"] for kept_row in rows], torn) == ([1, 3], 1)


def test_a_directory_that_has_gone_is_counted_too(tmp_path: Path) -> None:
    with kept(tmp_path / "gone") as opened:
        opened.log.put(row(1))
    assert opened.counts == {"written": 0, "dropped": 0, "failed": 1}


def test_trouble_is_reported_once_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with kept(tmp_path / "gone") as opened:
        for number in (1, 2, 3):
            opened.log.put(row(number))
            opened.wait_settled(number)
        assert len(caplog.records) == 1
        monkeypatch.setattr(service.records.candidate_log, "_REPORT_INTERVAL_S", 0.0)
        opened.log.put(row(4))
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert all("No such file" in text and str(tmp_path / "gone") in text for text in messages)


WRITER = """
import os, resource, sys, threading, time
from collections import Counter
from pathlib import Path
from service.records.candidate_log import CandidateLog

counts, directory = Counter(), Path(sys.argv[1])
def count(outcome, records):
    counts[outcome] += records
def put(numbers):
    for number in numbers:
        log.put({"prompt": "p", "responses": ["x" * 1000], "number": number})
def wait(records):
    while sum(counts.values()) < records:
        time.sleep(0.001)
log = CandidateLog(directory, 10**9, count, commit_interval_s=0.0, retry_s=0.0)
"""

FULL_THEN_NOT = """
def fill(full):  # until the disk says no
    number = 0
    while not full():
        put([number])
        number += 1
        wait(number)
    return number

with log:
    number = fill(lambda: counts["failed"])
    assert not log.up
    make_room()
    put(range(number, number + 10))
    wait(number + 10)
    assert log.up
print(counts["written"], counts["dropped"], counts["failed"])
"""

LIMITED = """
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (20_500, hard))  # a write that crosses it is cut short, the next one fails
def make_room():
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
"""

TMPFS = """
(directory / "ballast").write_bytes(bytes(100_000))
def make_room():
    (directory / "ballast").unlink()
"""


def run_script(script: str, directory: Path, *before: str) -> list[int]:
    command = [*before, sys.executable, "-c", script, str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return [int(number) for number in done.stdout.split()]


def test_a_write_that_the_system_refuses_half_way_leaves_no_half_line(tmp_path: Path) -> None:
    written, dropped, failed = run_script(WRITER + LIMITED + FULL_THEN_NOT, tmp_path)
    assert (dropped, failed) == (0, 1)
    assert written == len(numbers(tmp_path)) > 20


def test_a_full_file_system_is_outlived(tmp_path: Path) -> None:
    """A real one, where the system lets us make one of 200 kB."""
    inside = [
        "unshare",
        "-rm",
        "sh",
        "-c",
        'mount -t tmpfs -o size=200k none "$0" && "$@"; s=$?; cp "$0"/*.jsonl "$OUT"; exit $s',
    ]
    disk, out = tmp_path / "disk", tmp_path / "out"
    disk.mkdir()
    out.mkdir()
    probe = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", str(disk)]
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be made here")
    written, dropped, failed = run_script(WRITER + TMPFS + FULL_THEN_NOT, disk, "env", f"OUT={out}", *inside, str(disk))
    assert (dropped, failed) == (0, 1)
    assert written == len(numbers(out)) > 60


# -- kill -9

ENDLESS = """
def tell(outcome, records):
    os.write(1, f"{records}\\n".encode() if outcome == "written" else b"")
log = CandidateLog(directory, 200_000, tell, commit_interval_s=0.0)
with log:
    for start in range(0, 10**9, 50):
        put(range(start, start + 50))
        time.sleep(0.001)
"""


@pytest.mark.parametrize("acknowledged_before", [1, 500, 3000])
def test_what_was_counted_survives_kill_9(tmp_path: Path, acknowledged_before: int) -> None:
    command = [sys.executable, "-c", WRITER + ENDLESS, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        acknowledged = 0
        for line in process.stdout:
            acknowledged += int(line)
            if acknowledged >= acknowledged_before:
                process.kill()
                break
        acknowledged += sum(int(line) for line in process.stdout)
    rows, torn = read(tmp_path)
    assert [kept_row["number"] for kept_row in rows[:acknowledged]] == list(range(acknowledged))
    assert torn <= 1


# -- every record has one outcome


Step = tuple[str, int]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(1, 5000)),
        st.tuples(st.sampled_from(["full", "room", "settle", "odd"]), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.integers(1, 12_000), st.integers(2_000, 20_000))
def test_every_record_is_written_dropped_or_failed(steps: Sequence[Step], max_bytes: int, room: int) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        full = threading.Event()
        fsync = os.fsync

        def perhaps(descriptor: int) -> None:
            if full.is_set():
                raise FULL
            fsync(descriptor)

        patch.setattr(os, "fsync", perhaps)
        put = 0
        with kept(Path(name), max_bytes, queue_characters=room) as opened:
            for step, length in steps:
                match step:
                    case "put" | "odd":
                        opened.log.put({**row(put, "x" * length), **({"odd": object()} if step == "odd" else {})})
                        put += 1
                    case "full":
                        full.set()
                    case "room":
                        full.clear()
                    case _:
                        opened.wait_settled(put)
        assert sum(opened.counts.values()) == put
        assert len(set(numbers(Path(name)))) == len(numbers(Path(name))) == opened.counts["written"]


async def test_a_record_is_on_the_disk_when_its_future_is_done(tmp_path: Path) -> None:
    with kept(tmp_path) as opened:
        await asyncio.wrap_future(opened.log.put(row(1)))
        assert numbers(tmp_path) == [1]


async def test_the_future_of_a_lost_record_tells_why(tmp_path: Path) -> None:
    with kept(tmp_path, queue_characters=10) as opened, pytest.raises(BufferError, match="the queue is full"):
        await asyncio.wrap_future(opened.log.put(row(1)))
    with pytest.raises(BufferError, match="it is closed"):
        await asyncio.wrap_future(opened.log.put(row(2)))


async def test_whoever_stops_waiting_for_a_record_does_not_stop_it(tmp_path: Path) -> None:
    with kept(tmp_path, commit_interval_s=0.01) as opened:
        asyncio.wrap_future(opened.log.put(row(1))).cancel()
        await asyncio.wrap_future(opened.log.put(row(2)))
    assert numbers(tmp_path) == [1, 2]


# -- files that are moved or removed


@pytest.mark.parametrize("moved", [True, False])
def test_what_is_written_after_a_file_was_moved_or_removed_is_found(tmp_path: Path, moved: bool) -> None:
    counts: Counter[str] = Counter()
    directory = tmp_path / "log"
    directory.mkdir()
    with CandidateLog(directory, HUGE, lambda outcome, n: counts.update({outcome: n}), commit_interval_s=0) as log:
        log.put({"prompt": "1", "responses": []}).result(5)
        (path,) = directory.iterdir()
        path.rename(tmp_path / "rotated") if moved else path.unlink()
        log.put({"prompt": "2", "responses": []}).result(5)
    (path,) = directory.iterdir()
    assert [json.loads(line)["prompt"] for line in path.read_text().splitlines()] == ["2"]
    assert not moved or json.loads((tmp_path / "rotated").read_text())["prompt"] == "1"
    assert counts["written"] == 2


def test_a_record_whose_file_goes_while_it_is_written_goes_into_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, removals = os.fsync, iter([True])

    def remove_first(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode) and next(removals, False):
            next(tmp_path.iterdir()).unlink()
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", remove_first)
    with CandidateLog(tmp_path, HUGE, lambda *_: None, commit_interval_s=0) as log:
        log.put({"prompt": "1", "responses": []}).result(5)
    (path,) = tmp_path.iterdir()
    assert json.loads(path.read_text())["prompt"] == "1"


def test_where_the_folder_itself_is_gone_nothing_counts_as_written(tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    directory = tmp_path / "log"
    directory.mkdir()
    with CandidateLog(directory, HUGE, lambda outcome, n: counts.update({outcome: n}), commit_interval_s=0) as log:
        log.put({"prompt": "1", "responses": []}).result(5)
        shutil.rmtree(directory)
        with pytest.raises(OSError, match="No such file"):
            log.put({"prompt": "2", "responses": []}).result(5)
    assert (counts["written"], counts["failed"]) == (1, 1)


def test_what_the_engine_reported_is_kept_and_that_a_candidate_was_greedy() -> None:
    views = [Candidate(0, "finished", logprob=-2.5, self_certainty=3.5), Candidate(1, "failed")]
    ledger = Ledger(plan_for(2, include_greedy=True), [CandidateRecord(view) for view in views], CONVERSATION)
    (kept,) = candidate_rows(make_context(ledger), "ok", NOON, None)
    assert (kept["logprobs"], kept["self_certainties"], kept["include_greedy"]) == ([-2.5, None], [3.5, None], True)
    bare = replace(ledger, plan=plan_for(2), records=[CandidateRecord(Candidate(0, "finished"))])
    (kept,) = candidate_rows(make_context(bare), "ok", NOON, None)
    assert not {"logprobs", "self_certainties", "include_greedy"} & kept.keys()
