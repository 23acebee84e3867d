"""What goes back to the client."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.http.answer_patch import StreamPatcher, patch_answer
from service.http.rerank_object import rerank_object
from service.rerank.errors import DeadlineExceeded
from tests.service.fakes import make_ask, make_context, sse
from tests.service.http.ledgers import context_of, ledger_of_two

DONE = sse("[DONE]")
KINDS = {"reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0}
REJECTED = {"completion_tokens_details": KINDS | {"rejected_prediction_tokens": 8}}  # of 15 tokens 7 are returned


# -- whole answers


@pytest.mark.parametrize(
    ("endpoint", "usage", "billed"),
    [
        (
            "chat",
            {"prompt_tokens": 10, "completion_tokens": 7, "total_tokens": 17},
            {"prompt_tokens": 10, "completion_tokens": 15, "total_tokens": 25} | REJECTED,
        ),
        (
            "completions",
            {"prompt_tokens": 10, "completion_tokens": 7, "total_tokens": 17},
            {"prompt_tokens": 10, "completion_tokens": 15, "total_tokens": 25} | REJECTED,
        ),
        (
            "responses",
            {
                "input_tokens": 10,
                "output_tokens": 7,
                "total_tokens": 17,
                "output_tokens_details": {"reasoning_tokens": 3},
            },
            {
                "input_tokens": 10,
                "output_tokens": 15,
                "total_tokens": 25,
                "output_tokens_details": {"reasoning_tokens": 3, "rejected_prediction_tokens": 8},
            },
        ),
        ("messages", {"input_tokens": 10, "output_tokens": 7}, {"input_tokens": 10, "output_tokens": 15}),
    ],
)
def test_usage_counts_every_generated_token(endpoint: str, usage: dict[str, int], billed: dict[str, int]) -> None:
    answer = {"id": "x", "choices": [], "usage": usage}
    context = context_of(ledger_of_two(), endpoint=endpoint)
    patched = json.loads(patch_answer(json.dumps(answer).encode(), context))
    assert patched == {"id": "x", "choices": [], "usage": billed, "rerank": rerank_object(context)}


def test_nothing_else_of_the_answer_is_touched() -> None:
    answer = {"text": "é \u2028 \U0001f600", "number": 1e-7, "big": 2**70, "none": None, "deep": [[{}]]}
    patched = json.loads(patch_answer(json.dumps(answer).encode(), context_of(ledger_of_two())))
    assert {key: value for key, value in patched.items() if key != "rerank"} == answer


@pytest.mark.parametrize("usage", [None, {}])
def test_an_answer_without_usage_gets_none(usage: Any) -> None:
    patched = json.loads(patch_answer(json.dumps({"usage": usage}).encode(), context_of(ledger_of_two())))
    assert patched["usage"] == usage


def test_what_is_no_object_comes_back_as_it_was() -> None:
    assert patch_answer(b" [1, 2] ", context_of(ledger_of_two())) == b" [1, 2] "


# -- streams


def chat_stream(usage: bool = True, pieces: int = 3) -> list[bytes]:
    reasons = [None] * (pieces - 1) + ["stop"] if pieces else []
    events = [
        sse({"choices": [{"delta": {"content": f"{number} é"}, "finish_reason": reason}]})
        for number, reason in enumerate(reasons)
    ]
    if usage:
        counts = {"prompt_tokens": 10, "completion_tokens": 7, "total_tokens": 17}
        events.append(sse({"choices": [], "usage": counts}))
    return [*events, DONE]


RESPONSES_STREAM = [
    b"event: response.created\n" + sse({"type": "response.created", "response": {"usage": None}}),
    b"event: response.output_text.delta\n" + sse({"type": "response.output_text.delta", "delta": "a"}),
    b"event: response.completed\n"
    + sse({"type": "response.completed", "response": {"usage": {"output_tokens": 7, "total_tokens": 17}}}),
]
MESSAGES_STREAM = [
    b"event: message_start\n" + sse({"type": "message_start", "message": {"usage": {"output_tokens": 0}}}),
    b"event: content_block_delta\n" + sse({"type": "content_block_delta", "delta": {"text": "a"}}),
    b"event: message_delta\n" + sse({"type": "message_delta", "usage": {"output_tokens": 7}}),
    b"event: message_stop\n" + sse({"type": "message_stop"}),
]


def patched_stream(endpoint: str, *chunks: bytes) -> bytes:
    patcher = StreamPatcher(context_of(ledger_of_two(), endpoint=endpoint))
    return b"".join([patcher.feed(chunk) for chunk in chunks]) + patcher.flush()


def payloads(stream: bytes) -> list[Any]:
    lines = [line[6:] for line in stream.split(b"\n") if line.startswith(b"data: ")]
    return [line.decode() if line == b"[DONE]" else json.loads(line) for line in lines]


@pytest.mark.parametrize("usage", [True, False])
@pytest.mark.parametrize("endpoint", ["chat", "completions"])
def test_the_last_chunk_before_done_carries_rerank_and_the_bill(endpoint: str, usage: bool) -> None:
    *chunks, last, done = payloads(patched_stream(endpoint, *chat_stream(usage)))
    assert done == "[DONE]"
    assert last["rerank"]["tokens"]["generated"] == 15
    assert all("rerank" not in chunk for chunk in chunks)
    if usage:
        assert last["usage"] == {"prompt_tokens": 10, "completion_tokens": 15, "total_tokens": 25} | REJECTED


def test_the_completed_response_carries_rerank_and_the_bill() -> None:
    *events, last = payloads(patched_stream("responses", *RESPONSES_STREAM))
    details = {"reasoning_tokens": 0, "rejected_prediction_tokens": 8}
    assert last["response"]["usage"] == {"output_tokens": 15, "total_tokens": 25, "output_tokens_details": details}
    assert last["response"]["rerank"]["best_of"] == 4
    assert "rerank" not in json.dumps(events)


def test_the_message_delta_carries_rerank_and_the_bill() -> None:
    *_, last, stop = payloads(patched_stream("messages", *MESSAGES_STREAM))
    assert (last["usage"], last["rerank"]["best_of"]) == ({"output_tokens": 15}, 4)
    assert stop == {"type": "message_stop"}


def test_event_names_stay() -> None:
    names = [line for line in patched_stream("messages", *MESSAGES_STREAM).split(b"\n") if b"event:" in line]
    assert names == [event.split(b"\n")[0] for event in MESSAGES_STREAM]


def test_no_event_is_changed_but_the_last() -> None:
    stream = chat_stream()
    assert patched_stream("chat", *stream).startswith(b"".join(stream[:-2]))


def test_comments_and_a_stream_without_a_carrier_pass_untouched() -> None:
    stream = b": working\n" + sse({"error": {"message": "m"}}) + DONE
    assert patched_stream("chat", stream) == stream


def test_only_a_chunk_that_could_be_the_last_is_held_back() -> None:
    first, last, usage, done = chat_stream(pieces=2)
    patcher = StreamPatcher(context_of(ledger_of_two()))
    assert patcher.feed(first) == first
    assert patcher.feed(last) == b""
    assert patcher.feed(usage) == last
    assert patcher.feed(done).endswith(done)


def test_text_of_another_choice_is_not_kept_waiting_behind_a_finished_one() -> None:
    ended = sse({"choices": [{"index": 0, "finish_reason": "stop"}]})
    growing = sse({"choices": [{"index": 1, "finish_reason": None}]})
    patcher = StreamPatcher(context_of(ledger_of_two()))
    assert (patcher.feed(ended), patcher.feed(growing)) == (b"", ended + growing)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["chat", "responses", "messages"]), st.sets(st.integers(1, 300), max_size=30))
def test_any_chunking_of_the_same_bytes_gives_the_same_stream(endpoint: str, cuts: set[int]) -> None:
    streams = {"chat": chat_stream(), "responses": RESPONSES_STREAM, "messages": MESSAGES_STREAM}
    whole = b"".join(streams[endpoint])
    ends = [*sorted(cut for cut in cuts if cut < len(whole)), len(whole)]
    chunks = [whole[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    assert b"".join(chunks) == whole
    assert patched_stream(endpoint, *chunks) == patched_stream(endpoint, whole)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.booleans())
def test_events_keep_their_number_and_order_and_done_is_last(pieces: int, usage: bool) -> None:
    stream = chat_stream(usage, pieces)
    out = payloads(patched_stream("chat", *stream))
    texts = [event["choices"][0]["delta"]["content"] for event in out[:-1] if event["choices"]]
    assert texts == [f"{number} é" for number in range(pieces)]
    assert (len(out), out[-1]) == (len(stream), "[DONE]")


# -- what once went wrong


def test_an_error_in_a_stream_does_not_overtake_the_text_before_it() -> None:
    text, error = sse({"choices": [{"delta": {"content": "a"}}]}), sse({"error": {"message": "m"}})
    out = payloads(patched_stream("chat", text, error, DONE))
    assert [sorted(set(event) & {"choices", "error"}) for event in out[:-1]] == [["choices"], ["error"]]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_head_that_is_no_number_does_not_break_the_answers_json(value: float) -> None:
    ledger = ledger_of_two()
    record = ledger.records[1]
    record.view = replace(record.view, rewards={"helpful": value})

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads(patch_answer(b"{}", context_of(ledger)), parse_constant=refuse)


def test_an_answer_before_anything_was_generated_can_be_patched() -> None:
    """A background request to /v1/responses is answered with status "queued"."""
    context = make_context(ask=make_ask({"best_of": 4}, endpoint="responses"))
    assert json.loads(patch_answer(b'{"status": "queued"}', context))["status"] == "queued"


# -- usage before the end


def test_usage_on_the_way_counts_all_candidates_and_never_falls() -> None:
    ledger = ledger_of_two()
    patcher = StreamPatcher(context_of(ledger))
    out = []
    for own, generated in ((0, 1), (1, 4), (2, 3), (3, 5)):
        ledger.records[0].view = replace(ledger.records[0].view, tokens=generated)
        usage = {"prompt_tokens": 10, "completion_tokens": own, "total_tokens": 10 + own}
        out.append(patcher.feed(sse({"choices": [{"delta": {"content": "a"}}], "usage": usage})))
    ledger.records[0].view = replace(ledger.records[0].view, tokens=6)
    out += [patcher.feed(event) for event in chat_stream(usage=True, pieces=0)]
    usages = [event["usage"] for event in payloads(b"".join(out))[:-1]]
    assert [usage["completion_tokens"] for usage in usages] == [11, 14, 14, 15, 16]
    assert all(usage["total_tokens"] == 10 + usage["completion_tokens"] for usage in usages)
    assert usages[-1]["completion_tokens_details"] == KINDS | {"rejected_prediction_tokens": 9}


def test_a_chunk_that_ends_one_of_several_choices_has_the_usage_so_far_too() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 7, "total_tokens": 17}
    ended = [sse({"choices": [{"index": index, "finish_reason": "stop"}], "usage": usage}) for index in (0, 1)]
    first, second, _ = payloads(patched_stream("chat", *ended, DONE))
    assert first["usage"]["completion_tokens"] == second["usage"]["completion_tokens"] == 15
    assert ("rerank" in first, "rerank" in second) == (False, True)


# -- comments and failures


def test_a_comment_of_vllms_loses_the_empty_line_that_some_clients_take_for_an_event() -> None:
    text, last, done = chat_stream(usage=False, pieces=2)
    out = patched_stream("chat", b": keep-alive\n\n", text, last, b": keep-alive\n\n", done)
    assert out.startswith(b": keep-alive\n" + text)
    assert out.endswith(b": keep-alive\n" + done)
    assert b"keep-alive\n\n" not in out


@pytest.mark.parametrize("endpoint", ["chat", "completions", "messages", "responses"])
def test_nothing_comes_after_a_failure(endpoint: str) -> None:
    context = context_of(ledger_of_two(), endpoint=endpoint)
    context.error = DeadlineExceeded("too late", param="rerank.deadline_ms")
    patcher = StreamPatcher(context)
    opened = {"responses": RESPONSES_STREAM[0], "messages": MESSAGES_STREAM[0]}.get(endpoint, chat_stream()[0])
    vllms = {"messages": {"type": "error", "error": {"type": "internal_error", "message": "odd"}}}
    error = vllms.get(endpoint, {"error": {"message": "odd"}, "type": "error"})
    out = patcher.feed(opened) + patcher.feed(sse(error)) + patcher.feed(DONE + sse({"choices": []})) + patcher.flush()
    assert b"odd" not in out
    assert out.count(b"[DONE]") == (1 if endpoint in ("chat", "completions") else 0)
    assert sum("deadline_exceeded" in json.dumps(event) for event in payloads(out)) == (
        2 if endpoint == "responses" else 1
    )


def test_the_chunk_that_is_held_comes_complete_before_a_failure() -> None:
    context = context_of(ledger_of_two())
    context.error = DeadlineExceeded("too late")
    patcher = StreamPatcher(context)
    held, error, done = payloads(patcher.feed(chat_stream(pieces=1)[0]) + patcher.fail(context.error))
    assert (held["rerank"]["best_of"], error["error"]["code"], done) == (4, "deadline_exceeded", "[DONE]")


def test_a_failure_is_numbered_after_what_went_out_without_coming_through_here() -> None:
    patcher = StreamPatcher(context_of(ledger_of_two(), endpoint="responses"))
    for number, kind in ((0, "response.created"), (7, "response.in_progress")):
        patcher.note(sse({"type": kind, "sequence_number": number, "response": {"id": "r"}}))
    told, failed = payloads(patcher.fail(DeadlineExceeded("too late")))
    assert (told["sequence_number"], failed["sequence_number"], failed["response"]["id"]) == (8, 9, "r")
