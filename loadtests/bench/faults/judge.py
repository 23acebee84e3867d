"""What counts as a typed answer: a whole answer or an error in the shape that the endpoint's clients read. Pure.

Everything else is a miss: a connection that drops, a body that breaks off, a stream without its end, a 500.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from loadtests.bench.faults.wire import Reply

Kind = Literal["answer", "error", "left", "miss"]
Json = Mapping[str, Any]

MESSAGES = "/v1/messages"
RESPONSES = "/v1/responses"
_SHOWN = 160


@dataclass(frozen=True)
class Verdict:
    """What a reply is. tokens: of all candidates, as `usage` has them. ranked: it has a reward that chose it."""

    kind: Kind
    evidence: str = ""
    tokens: int = 0
    ranked: bool = False


def judge(reply: Reply) -> Verdict:
    """A client that left is owed nothing."""
    if reply.left:
        return Verdict("left", reply.trouble)
    if not reply.status or not reply.whole:
        what = f"{reply.status} broke off" if reply.status else "no answer"
        return Verdict("miss", f"{what}: {reply.trouble or 'the body has no end'}; {_shown(reply.body)}")
    if reply.status == 500:
        return Verdict("miss", f"500: {_shown(reply.body)}")
    if reply.headers.get("content-type", "").startswith("text/event-stream"):
        return _judge_events(reply)
    return _judge_body(reply)


def _judge_body(reply: Reply) -> Verdict:
    try:
        body = json.loads(reply.body)
    except ValueError:
        return Verdict("miss", f"{reply.status}, no JSON: {_shown(reply.body)}")
    if reply.status >= 400:
        fault = _error_fault(body, reply.asked.path)
        said = _shown(reply.body)
        return (
            Verdict("miss", f"{reply.status}, {fault}: {said}") if fault else Verdict("error", f"{reply.status} {said}")
        )
    return _answer(body, reply)


def _judge_events(reply: Reply) -> Verdict:
    """By the last events: an error ends a stream as well as an answer does."""
    found = list(events(reply.body))
    for event in found:
        if (fault := _event_error(event, reply.asked.path)) is not None:
            text = _shown(json.dumps(event).encode())
            return Verdict("miss", f"an event, {fault}: {text}") if fault else Verdict("error", f"an event {text}")
    if not _has_ended(found, reply):
        return Verdict("miss", f"a stream without its end: {_shown(reply.body[-_SHOWN:])}")
    merged: dict[str, Any] = {}
    for event in found:
        response = event.get("response")
        inner: Json = response if isinstance(response, dict) else event
        merged.update({key: inner[key] for key in ("usage", "rerank") if inner.get(key)})
    return _counted(merged)


def events(body: bytes) -> Iterator[Json]:
    """The objects that the events of a stream hold; comments and [DONE] are none. What is no JSON is {"text": ...}."""
    for line in body.decode("utf-8", "replace").splitlines():
        text = line.removeprefix("data:").strip()
        if line.startswith("data:") and text != "[DONE]":
            try:
                value = json.loads(text)
            except ValueError:
                value = None
            yield value if isinstance(value, dict) else {"text": text}


def _has_ended(found: list[Json], reply: Reply) -> bool:
    types = [event.get("type") for event in found]
    if reply.asked.path == MESSAGES:
        return "message_stop" in types
    if reply.asked.path == RESPONSES:
        return bool({"response.completed", "response.incomplete"} & set(types))
    return reply.body.rstrip().endswith(b"data: [DONE]")


def _event_error(event: Json, path: str) -> str | None:
    """None where it is no error; "" where it is one as it should be; else what is wrong with its shape."""
    if path == RESPONSES and event.get("type") == "response.failed":
        error = (event.get("response") or {}).get("error") or {}
        return "" if error.get("message") and error.get("code") else "no code and message"
    if path == RESPONSES and event.get("type") == "error":
        return "" if event.get("message") or _error_fault(event, path) == "" else "no message"
    return _error_fault(event, path) if event.get("error") else None


def _error_fault(body: Any, path: str) -> str:
    """What is wrong with an error's shape; empty where it is OpenAI's or, for messages, Anthropic's."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return "no object `error`"
    if not isinstance(error.get("message"), str) or not error["message"].strip():
        return "no `error.message`"
    if not isinstance(error.get("type"), str):
        return "no `error.type`"
    if path == MESSAGES:
        return "" if body.get("type") == "error" else 'no `"type": "error"`'
    return "" if {"param", "code"} <= error.keys() else "no `error.param` and `error.code`"


def _answer(body: Any, reply: Reply) -> Verdict:
    if not isinstance(body, dict) or not _is_finished(body, reply.asked.path):
        return Verdict("miss", f"{reply.status}, not a whole answer: {_shown(reply.body)}")
    return _counted(body)


def _is_finished(body: Json, path: str) -> bool:
    if path == MESSAGES:
        return body.get("type") == "message" and body.get("stop_reason") is not None
    if path == RESPONSES:
        return body.get("object") == "response" and body.get("status") in ("completed", "incomplete")
    choices = body.get("choices") or []
    return bool(choices) and all(choice.get("finish_reason") in ("stop", "length", "tool_calls") for choice in choices)


def _counted(body: Json) -> Verdict:
    usage, rerank = body.get("usage") or {}, body.get("rerank") or {}
    tokens = usage.get("completion_tokens", usage.get("output_tokens")) or rerank.get("tokens", {}).get("generated", 0)
    return Verdict("answer", tokens=int(tokens), ranked=rerank.get("reward") is not None)


def _shown(body: bytes) -> str:
    return " ".join(body[:_SHOWN].decode("utf-8", "replace").split())
