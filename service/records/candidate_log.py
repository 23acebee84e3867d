"""Every prompt, candidate and score on disk, as records to learn from: `bestofn serve --candidate-log DIR`.

What people prefer (`service.records.choices`) goes into the same files: a record with `ranks` is a person's word, one
with `scores` the reward model's, and `training.data.read` reads each as what it is.

The event loop only appends to a bounded queue. One thread writes whole lines in batches, each batch made durable
before it is counted as written: what is counted survives `kill -9`. Whatever goes wrong, answers go on; what was not
kept is counted. A file that was moved or removed is left for a new one. One that a write has failed on is never
written to again, so only the last line of a file can be incomplete, and then it has no newline.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from reward.conversation import Answer, Conversation
from service.records.durable_file import DurableFile
from service.rerank.context import RequestContext
from service.rerank.ledger import CandidateRecord, Ledger, finite

Row = Mapping[str, Any]
Outcome = Literal["written", "dropped", "failed"]

_OUTCOMES: tuple[Outcome, ...] = ("written", "dropped", "failed")
_QUEUE_CHARACTERS = 64 * 2**20
_ROW_CHARACTERS = 1000  # what a row holds beside its texts, about
_POINT_CHARACTERS = 20  # of (tokens, milliseconds) or (tokens, reward)
_COMMIT_INTERVAL_S = 0.1
_RETRY_S = 1.0
_CLOSE_S = 10.0
_REPORT_INTERVAL_S = 60.0
_FILES_TRIED = 3
_METRIC = "bestofn_candidate_log_records_total"

_logger = logging.getLogger(__name__)


def candidate_rows(context: RequestContext, outcome: str, at: datetime, reward_model: str | None) -> list[Row]:
    """One record for each prompt of a request whose candidates the reward model was to rank.

    responses: whole answers, with what the client wrote of them already; not finished ones as far as they came (see
    states). reasoning, tool_calls: what a candidate thought and called, apart from its answer, where one did; text
    that calls a tool stays in its response too. scores: null where there is none. logprobs, self_certainties: where the
    request had them recorded. prompt: the conversation as the
    reward model read it, or a bare prompt; tools: what the policy was offered (left_out: what was not read of it).
    """
    common = {
        "request_id": context.request_id,
        "time": at.isoformat(timespec="milliseconds"),
        "model": context.ask.model,
        "reward_model": reward_model,
        "outcome": outcome,
    }
    return [_row(ledger) | common for ledger in context.ledgers if ledger.conversation and ledger.records]


def _row(ledger: Ledger) -> dict[str, Any]:
    conversation, records = ledger.conversation, ledger.records
    assert conversation is not None
    heads = dict.fromkeys(head for record in records for head in record.view.rewards)
    scores = {head: [finite(record.view.rewards.get(head)) for record in records] for head in heads}
    return {
        **_asked(conversation),
        **_answered(conversation.answer_start, records, [ledger.answer(record) for record in records]),
        "scores": {**scores, "reward": [candidate.reward for candidate in ledger.candidates]},
        "selected": ledger.selected,
        "states": [candidate.state for candidate in ledger.candidates],
        "finish_reasons": [candidate.finish_reason for candidate in ledger.candidates],
        "tokens": [candidate.tokens for candidate in ledger.candidates],
        "growth_ms": [ledger.growth_ms(record) for record in records],
        "prefix_rewards": [candidate.prefix_rewards for candidate in ledger.candidates],
        "best_of": ledger.plan.best_of,
        "strategy": ledger.plan.strategy.name,
        "stop_reason": ledger.stop_reason,
        **_quantities(ledger),
        **({"include_greedy": True} if ledger.plan.include_greedy else {}),
        **({"reward_weights": dict(weights)} if (weights := ledger.plan.reward_weights) else {}),
    }


def _quantities(ledger: Ledger) -> dict[str, list[float | None]]:
    found = {
        "logprobs": [finite(candidate.logprob) for candidate in ledger.candidates],
        "self_certainties": [finite(candidate.self_certainty) for candidate in ledger.candidates],
    }
    return {name: values for name, values in found.items() if any(value is not None for value in values)}


def _asked(conversation: Conversation) -> dict[str, Any]:
    if conversation.bare:
        prompt: Any = conversation.messages[0]["content"]
    else:
        prompt = conversation.text if conversation.scored_as == "text" else conversation.messages
    given = {"tools": conversation.tools, "variables": dict(conversation.variables), "left_out": conversation.left_out}
    return {"prompt": prompt, "scored_as": conversation.scored_as} | {name: one for name, one in given.items() if one}


def _answered(start: str, records: Sequence[CandidateRecord], answers: Sequence[Answer]) -> dict[str, Any]:
    pairs = zip(records, answers, strict=True)
    texts = [record.text if answer.tool_calls else answer.content for record, answer in pairs]
    apart: dict[str, list[Any]] = {
        "reasoning": [answer.reasoning or None for answer in answers],
        "tool_calls": [answer.tool_calls or None for answer in answers],
    }
    return {"responses": [start + text for text in texts]} | {name: each for name, each in apart.items() if any(each)}


@dataclass(frozen=True)
class _Entry:
    """A record on its way."""

    row: Row
    characters: int  # about how much text it holds
    kept: Future[None] = field(default_factory=Future)  # see `CandidateLog.put`

    def settle(self, error: Exception | None) -> None:
        if self.kept.set_running_or_notify_cancel():
            self.kept.set_exception(error) if error else self.kept.set_result(None)


class CandidateLog:
    """A context manager around the thread that writes; `close` waits for what is queued, at most 10 s.

    directory: see `durable_file.prepare`. max_bytes: of a file; only a single longer record makes a longer one.
    count: gets each record's outcome, from any thread. queue_characters: of text that may wait; what comes above it
    is dropped. commit_interval_s: least time between two commits. retry_s: pause after a failure.
    """

    def __init__(
        self,
        directory: Path,
        max_bytes: int,
        count: Callable[[Outcome, int], None],
        *,
        reward_model: str | None = None,
        queue_characters: int = _QUEUE_CHARACTERS,
        commit_interval_s: float = _COMMIT_INTERVAL_S,
        retry_s: float = _RETRY_S,
    ) -> None:
        self.reward_model = reward_model
        self._failure: Exception | None = None
        self._directory = directory
        self._max_bytes = max_bytes
        self._count = count
        self._queue_characters = queue_characters
        self._commit_interval_s = commit_interval_s
        self._retry_s = retry_s
        self._pause_s = commit_interval_s
        self._reported_s: float | None = None
        self._lock = threading.Lock()  # held for a few instructions only, by the event loop as well
        self._queue: list[_Entry] = []
        self._held_characters = 0  # queued, or taken and not yet settled
        self._filled = threading.Event()
        self._closing = threading.Event()
        self._file: DurableFile | None = None
        self._thread = threading.Thread(target=self._run, name="candidate-log", daemon=True)
        for outcome in _OUTCOMES:
            count(outcome, 0)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def up(self) -> bool:
        """False from when a record is lost until the next one is written."""
        return self._failure is None and self._thread.is_alive()

    # -- the event loop's side

    def record(self, context: RequestContext, outcome: str) -> None:
        """Keep the prompts and candidates of a request that is over. Never waits for the disk."""
        for row in candidate_rows(context, outcome, datetime.now(UTC), self.reward_model):
            self.put(row)

    def put(self, row: Row) -> Future[None]:
        """Queue one record, or drop it where the queue is full, the log closed or its thread dead.

        A row must not change any more. The future is done when the record is on the disk; it raises what kept the
        record from it.
        """
        entry = _Entry(row, _characters(row))
        with self._lock:
            closed = self._closing.is_set() or self._has_died()
            fits = not closed and self._held_characters + entry.characters <= self._queue_characters
            if fits:
                self._queue.append(entry)
                self._held_characters += entry.characters
        if fits:
            self._filled.set()
        else:
            self._lose("dropped", [entry], BufferError("it is closed" if closed else "the queue is full"))
        return entry.kept

    def _has_died(self) -> bool:
        return self._thread.ident is not None and not self._thread.is_alive()

    def close(self, within_s: float = _CLOSE_S) -> None:
        """Write what is queued, then end. What the disk does not take within `within_s` seconds is dropped."""
        with self._lock:
            self._closing.set()
        self._filled.set()
        self._thread.join(within_s)
        with self._lock:
            late, self._queue = self._queue, []
        if late:
            self._lose("dropped", late, TimeoutError(f"not written within {within_s:g} s of closing"))

    # -- the thread's side

    def _run(self) -> None:
        while (batch := self._take()) is not None:
            try:
                self._store(self._lines(batch))
            finally:
                with self._lock:
                    self._held_characters -= sum(entry.characters for entry in batch)
        if self._file is not None:
            self._file.close()

    def _take(self) -> list[_Entry] | None:
        """All that is queued, once there is something; None when the log is closed and the queue empty."""
        self._filled.wait()
        self._closing.wait(self._pause_s)
        with self._lock:
            batch, self._queue = self._queue, []
            if not self._closing.is_set():
                self._filled.clear()
            elif not batch:
                return None
        return batch

    def _lines(self, batch: Sequence[_Entry]) -> list[tuple[_Entry, bytes]]:
        lines = []
        for entry in batch:
            try:
                lines.append((entry, _line(entry.row)))
            except Exception as error:  # no JSON, or too large for the memory that is left; the thread goes on
                self._lose("failed", [entry], error)
        return lines

    def _store(self, lines: Sequence[tuple[_Entry, bytes]]) -> None:
        for group in _groups(lines, self._max_bytes):
            entries = [entry for entry, _ in group]
            try:
                self._append(b"".join(line for _, line in group))
            except Exception as error:  # whatever it was, the thread goes on, and what was lost is counted
                self._discard_file()
                self._pause_s = self._retry_s
                self._lose("failed", entries, error)
            else:
                self._pause_s = self._commit_interval_s
                self._failure = None
                self._count("written", len(group))
                for entry in entries:
                    entry.settle(None)

    def _append(self, data: bytes) -> None:
        """Into a file that is still in its place afterwards; one that was moved meanwhile holds the lines as well."""
        for _ in range(_FILES_TRIED):
            file = self._file
            if file is not None and (file.size + len(data) > self._max_bytes or not file.in_place):
                self._discard_file()
            if self._file is None:
                self._file = DurableFile(self._directory)
            self._file.append(data)
            if self._file.in_place:
                return
        raise OSError("its files are removed as fast as they are written")

    def _discard_file(self) -> None:
        """The next append opens a new one."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    # -- either side

    def _lose(self, outcome: Outcome, entries: Sequence[_Entry], error: Exception) -> None:
        self._failure = error
        self._count(outcome, len(entries))
        for entry in entries:
            entry.settle(error)
        now_s = time.monotonic()
        if self._reported_s is None or now_s - self._reported_s >= _REPORT_INTERVAL_S:
            self._reported_s = now_s
            _logger.error("candidate log %s: records are lost (see %s): %s", self._directory, _METRIC, error)


def _characters(row: Row) -> int:
    """About how much text a row holds."""
    prompt = row["prompt"]
    asked = len(prompt) if isinstance(prompt, str) else sum(len(message.get("content") or "") for message in prompt)
    asked += sum(len(str(row[name])) for name in ("tools", "variables", "reasoning", "tool_calls") if name in row)
    grown = sum(len(points) for name in ("growth_ms", "prefix_rewards") for points in row.get(name, ()))
    return _ROW_CHARACTERS + asked + sum(map(len, row["responses"])) + _POINT_CHARACTERS * grown


def _line(row: Row) -> bytes:
    """One line of JSON in UTF-8. Half a surrogate pair, which many readers refuse, becomes a question mark."""
    text = json.dumps(row, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "replace") + b"\n"


def _groups(lines: Sequence[tuple[_Entry, bytes]], max_bytes: int) -> Iterator[list[tuple[_Entry, bytes]]]:
    """Neighbours that fit into one file together; a line that is longer alone is a group of its own."""
    group: list[tuple[_Entry, bytes]] = []
    size = 0
    for entry, line in lines:
        if group and size + len(line) > max_bytes:
            yield group
            group, size = [], 0
        group.append((entry, line))
        size += len(line)
    if group:
        yield group
