"""What is a typed answer and what is a miss, for each endpoint."""

import json
from typing import Any

import pytest

from loadtests.bench.faults.judge import events, judge
from tests.loadtests.bench.faults.lives import reply

CHAT, COMPLETIONS, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses"
OPENAI = {"error": {"message": "too much", "type": "rate_limit_error", "param": None, "code": "overloaded"}}
ANTHROPIC = {"type": "error", "error": {"message": "too much", "type": "rate_limit_error"}}
RANKED = {"rerank": {"reward": 0.5, "tokens": {"generated": 7}}}


def stream(*found: Any, end: str = "") -> bytes:
    return "".join(f"data: {json.dumps(event)}\n\n" for event in found).encode() + end.encode()


@pytest.mark.parametrize(
    ("path", "body", "tokens", "ranked"),
    [
        (CHAT, {"choices": [{"finish_reason": "stop"}], "usage": {"completion_tokens": 9}} | RANKED, 9, True),
        (CHAT, {"choices": [{"finish_reason": "length"}], "usage": {"completion_tokens": 3}}, 3, False),
        (COMPLETIONS, {"choices": [{"finish_reason": "stop"}] * 2, "usage": {"completion_tokens": 9}}, 9, False),
        (MESSAGES, {"type": "message", "stop_reason": "end_turn", "usage": {"output_tokens": 4}}, 4, False),
        (RESPONSES, {"object": "response", "status": "completed", "usage": {"output_tokens": 5}} | RANKED, 5, True),
    ],
)
def test_a_whole_answer_is_one_with_its_tokens(path: str, body: Any, tokens: int, ranked: bool) -> None:
    found = judge(reply(path, body=json.dumps(body).encode()))
    assert (found.kind, found.tokens, found.ranked) == ("answer", tokens, ranked)


@pytest.mark.parametrize(
    ("path", "status", "body", "kind"),
    [
        (CHAT, 429, OPENAI, "error"),
        (RESPONSES, 503, OPENAI, "error"),
        (MESSAGES, 429, ANTHROPIC, "error"),
        (MESSAGES, 429, OPENAI, "miss"),
        (CHAT, 500, OPENAI, "miss"),
        (CHAT, 429, {"detail": "Not Found"}, "miss"),
        (CHAT, 429, {"error": "too much"}, "miss"),
        (CHAT, 429, {"error": {**OPENAI["error"], "message": " "}}, "miss"),
        (CHAT, 429, {"error": {"message": "m", "type": "t"}}, "miss"),
        (CHAT, 429, ["error"], "miss"),
        (CHAT, 200, {"choices": []}, "miss"),
        (CHAT, 200, {"choices": [{"finish_reason": "abort"}]}, "miss"),
        (CHAT, 200, {"choices": [{"finish_reason": None}]}, "miss"),
        (RESPONSES, 200, {"object": "response", "status": "in_progress"}, "miss"),
        (MESSAGES, 200, {"type": "message", "stop_reason": None}, "miss"),
    ],
)
def test_an_error_has_the_shape_of_its_endpoint(path: str, status: int, body: Any, kind: str) -> None:
    assert judge(reply(path, body=json.dumps(body).encode(), status=status)).kind == kind


FINAL = {"choices": [], "usage": {"completion_tokens": 6}} | RANKED
COMPLETED = {"type": "response.completed", "response": {"usage": {"output_tokens": 6}} | RANKED}
FAILED = {"type": "response.failed", "response": {"error": {"code": "server_error", "message": "down"}}}


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        (CHAT, stream(FINAL, end="data: [DONE]\n\n"), "answer"),
        (CHAT, b": a comment\n" + stream(FINAL, end="data: [DONE]\n\n"), "answer"),
        (CHAT, stream(FINAL), "miss"),
        (CHAT, b": a comment\n\n", "miss"),
        (CHAT, stream(OPENAI, end="data: [DONE]\n\n"), "error"),
        (CHAT, stream(OPENAI), "error"),
        (CHAT, stream({"error": {"message": "m"}}, end="data: [DONE]\n\n"), "miss"),
        (COMPLETIONS, stream(FINAL, end="data: [DONE]\n\n"), "answer"),
        (MESSAGES, stream({"type": "message_delta", **FINAL}, {"type": "message_stop"}), "answer"),
        (MESSAGES, stream({"type": "message_delta", **FINAL}), "miss"),
        (MESSAGES, stream(ANTHROPIC), "error"),
        (MESSAGES, stream(OPENAI), "miss"),
        (RESPONSES, stream(COMPLETED), "answer"),
        (RESPONSES, stream({"type": "response.created"}), "miss"),
        (RESPONSES, stream(FAILED), "error"),
        (RESPONSES, stream({"type": "response.failed", "response": {}}), "miss"),
        (RESPONSES, stream({"type": "error", "message": "down", "code": "x"}), "error"),
    ],
)
def test_a_stream_ends_in_an_answer_or_an_error_event(path: str, body: bytes, kind: str) -> None:
    found = judge(reply(path, body=body, kind="text/event-stream"))
    assert found.kind == kind
    if kind == "answer":
        assert (found.tokens, found.ranked) == (6, True)


def test_what_breaks_off_is_a_miss_with_what_there_was() -> None:
    found = judge(reply(body=b'{"choices": [', whole=False, trouble="RemoteProtocolError: peer closed"))
    assert (found.kind, "200 broke off" in found.evidence, "peer closed" in found.evidence) == ("miss", True, True)
    assert judge(reply(status=0, whole=False, trouble="refused")).evidence.startswith("no answer: refused")


def test_a_client_that_left_is_owed_nothing() -> None:
    assert judge(reply(whole=False, left=True, trouble="the client left")).kind == "left"


def test_what_is_no_json_in_an_event_is_kept_as_text() -> None:
    assert list(events(b"data: {broken\n\ndata: [1]\n\ndata: [DONE]\n\n")) == [{"text": "{broken"}, {"text": "[1]"}]
