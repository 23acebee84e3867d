"""What a fault left behind: replies, tokens, sequences, records, processes."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from loadtests.bench.faults.judge import Verdict, judge
from loadtests.bench.faults.life import Life, Log, read_log
from loadtests.bench.faults.record import Fault, Judged
from loadtests.bench.faults.wire import Reply
from measuring.client import connect
from measuring.scrape import Scrape, scrape

_QUIET_S = 10.0
_POLL_S = 0.1
_COMMIT_S = 5.0  # within which the candidate log has written what was answered; it commits each 0.1 s


@dataclass(frozen=True)
class Counted:
    """What a server has counted. engine: generated tokens by vLLM; ours: by us. leaked: sequences and candidates."""

    engine: int
    ours: int
    leaked: int
    written: int


def read_counters(seen: Scrape) -> Counted:
    """From its metrics."""
    return Counted(
        engine=int(seen.total("vllm:generation_tokens_total")),
        ours=int(seen.total("bestofn_generated_tokens_total")),
        leaked=int(
            seen.total("vllm:num_requests_running")
            + seen.total("vllm:num_requests_waiting")
            + seen.total("bestofn_candidates_in_flight")
        ),
        written=int(seen.total("bestofn_candidate_log_records_total", outcome="written")),
    )


async def quiet(life: Life, within_s: float = _QUIET_S) -> Counted:
    """Once nothing is in flight any more, or as it is after so long."""
    give_up_s = time.monotonic() + within_s
    async with connect(life.url, clients=1) as client:
        while True:
            found = read_counters(await scrape(client))
            if not found.leaked or time.monotonic() > give_up_s:
                return found
            await asyncio.sleep(_POLL_S)


def judged_after(replies: Iterable[Reply], moment_s: float, *, until_s: float | None = None) -> list[Judged]:
    """Replies that ended after the moment. until_s: the fault's end, from which on an answer is waited for."""
    starts_s = moment_s if until_s is None else until_s
    return [
        Judged(
            reply.asked.path, reply.asked.streamed, judge(reply), max(reply.ended_s - max(starts_s, reply.sent_s), 0.0)
        )
        for reply in replies
        if reply.ended_s >= moment_s
    ]


def unrecorded(replies: Iterable[Reply], log: Log) -> list[str]:
    """Request ids of whole ranked answers that the candidate log does not hold."""
    ranked = [reply for reply in replies if judge(reply).ranked]
    return [reply.asked.request_id for reply in ranked if reply.asked.request_id not in log.request_ids]


def tokens_wrong(before: Counted, after: Counted, verdicts: Sequence[Verdict]) -> list[str]:
    """Why the tokens do not add up; nothing where they do. What has been answered is never more than was generated."""
    engine, ours = after.engine - before.engine, after.ours - before.ours
    said = sum(verdict.tokens for verdict in verdicts)
    wrong = [f"vLLM generated {engine} tokens, of which we counted {ours}"] if engine != ours else []
    unpaid = any(verdict.kind in ("left", "miss", "error") for verdict in verdicts)
    if said > ours or (said < ours and not unpaid):
        wrong.append(f"the answers' usage adds up to {said} tokens, and we counted {ours}")
    return wrong


async def settle(life: Life, before: Counted, replies: Sequence[Reply], fault: Fault) -> None:
    """Look at a server that lives on, once it is quiet: tokens, sequences, and every answer's record."""
    after = await quiet(life)
    fault.tokens_off = abs((after.engine - before.engine) - (after.ours - before.ours))
    fault.wrong += tokens_wrong(before, after, [judge(reply) for reply in replies])
    fault.leaked = after.leaked
    if after.leaked:
        fault.wrong.append(f"{after.leaked} sequences or candidates in flight {_QUIET_S:g} s after the last answer")
    note_records(fault, replies, await _committed(life, replies), is_over=False)


async def _committed(life: Life, replies: Sequence[Reply]) -> Log:
    """The log once it holds every answer, or as it is after so long."""
    give_up_s = time.monotonic() + _COMMIT_S
    while True:
        log = read_log(life.candidates)
        if not unrecorded(replies, log) or time.monotonic() > give_up_s:
            return log
        await asyncio.sleep(_POLL_S)


def note_records(fault: Fault, replies: Sequence[Reply], log: Log, *, is_over: bool) -> None:
    """Answers without a record, and lines that are none. is_over: nobody writes there any more."""
    lost = unrecorded(replies, log)
    fault.records_lost = len(lost)
    if lost:
        fault.wrong.append(f"{len(lost)} ranked answers have no record, such as {lost[0]}")
    if log.torn or (is_over and log.open_ends):
        fault.wrong.append(f"the candidate log has {log.torn} torn lines and {log.open_ends} without an end")
