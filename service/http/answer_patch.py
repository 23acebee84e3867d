"""What goes back to the client: vLLM's answer, with the whole bill in `usage` and one `rerank` object added.

Each endpoint keeps its own shape; `Dialect` says where usage and `rerank` go. Nothing else of vLLM's answer is
touched, and an answer that was not reranked is passed on byte for byte.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from service.http.rerank_object import Json, rerank_object
from service.rerank.context import RequestContext
from service.rerank.errors import ServiceError, error_body
from service.rerank.ledger import Tokens, count_tokens
from service.rerank.request import Endpoint


@dataclass(frozen=True)
class Dialect:
    """usage: finds the usage object in an answer or event. completion_key: its name for generated tokens.

    carrier: in an event of a stream, the object that takes `rerank`, if the event is one that may carry it.
    """

    usage: Callable[[Json], Json | None]
    completion_key: str
    carrier: Callable[[Json], Json | None]


def _usage(event: Json) -> Json | None:
    return event.get("usage")


def _response(event: Json) -> Json | None:
    """A Responses stream carries the whole response in its last event; a plain answer is the response."""
    ends = ("response.completed", "response.incomplete", "response.failed")
    return event.get("response") if event.get("type") in ends else None


def _response_usage(event: Json) -> Json | None:
    return (_response(event) or event).get("usage")


def _final_chunk(event: Json) -> Json | None:
    """A chunk that could be the last: it ends a choice, or carries the usage behind all of them."""
    choices = event.get("choices")
    ends = choices == [] or any(choice.get("finish_reason") for choice in choices or [])
    return event if ends else None


_OPENAI = Dialect(_usage, "completion_tokens", _final_chunk)

DIALECTS: Mapping[Endpoint, Dialect] = {
    "chat": _OPENAI,
    "completions": _OPENAI,
    "responses": Dialect(_response_usage, "output_tokens", _response),
    "messages": Dialect(_usage, "output_tokens", lambda event: event if event.get("type") == "message_delta" else None),
}


def patch_answer(body: bytes, context: RequestContext) -> bytes:
    """A whole JSON answer with usage and `rerank` filled in; anything but an object comes back as it was."""
    answer = json.loads(body)
    if not isinstance(answer, dict) or not context.ledgers:
        return body
    _bill(DIALECTS[context.ask.endpoint], answer, count_tokens(context.ledgers))
    answer["rerank"] = rerank_object(context)
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()


class StreamPatcher:
    """Rewrites a server-sent event stream.

    Holds each event that could be the last to carry `rerank`, and what follows it, until a later one comes or the
    stream ends.
    """

    def __init__(self, context: RequestContext) -> None:
        self._context = context
        self._dialect = DIALECTS[context.ask.endpoint]
        self._rest = b""
        self._held: list[bytes] = []

    def feed(self, chunk: bytes) -> bytes:
        """The events that can be sent on now."""
        *events, self._rest = (self._rest + chunk).split(b"\n\n")
        return b"".join(part for event in events for part in self._pass(event + b"\n\n"))

    def _pass(self, event: bytes) -> Iterator[bytes]:
        payload = _payload(event)
        if payload is not None and self._context.error is not None and _is_error(payload):
            event = _with_payload(event, _our_error(payload, self._context.error))
        if payload is not None and self._dialect.carrier(payload) is not None:
            yield from self._held
            self._held = [event]
        elif _is_end(event, payload):
            yield self.flush()
            yield event
        elif self._held and (payload is None or _is_error(payload)):
            self._held.append(event)
        else:
            yield from self._held
            self._held = []
            yield event

    def flush(self) -> bytes:
        """What is held, completed; empty when nothing is."""
        held, self._held = self._held, []
        if not held or not self._context.ledgers:
            return b"".join(held)
        event, *rest = held
        payload = _payload(event)
        assert payload is not None
        _bill(self._dialect, payload, count_tokens(self._context.ledgers))
        carrier = self._dialect.carrier(payload)
        assert carrier is not None
        carrier["rerank"] = rerank_object(self._context)
        return _with_payload(event, payload) + b"".join(rest)


def _payload(event: bytes) -> Json | None:
    """The JSON object of an event; None for comments, [DONE] and anything else."""
    data = next((line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:")), b"")
    if not data.startswith(b"{"):
        return None
    payload = json.loads(data)
    return payload if isinstance(payload, dict) else None


def _with_payload(event: bytes, payload: Json) -> bytes:
    """The event with other data and its own type line."""
    data = b"data: " + json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
    lines = [data if line.startswith(b"data:") else line for line in event.rstrip(b"\n").split(b"\n")]
    return b"\n".join(lines) + b"\n\n"


def _is_error(payload: Json) -> bool:
    return payload.get("error") is not None or payload.get("type") == "error"


def _our_error(payload: Json, error: ServiceError) -> Json:
    """An error event with our cause in it, in the shape that its endpoint has."""
    ours = error_body(error)["error"]
    return payload | ({"error": ours} if "error" in payload else ours | {"type": "error"})


def _is_end(event: bytes, payload: Json | None) -> bool:
    is_done = event.startswith(b"data: [DONE]")
    return is_done or (payload is not None and payload.get("type") == "message_stop")


def _bill(dialect: Dialect, answer: Json, tokens: Tokens) -> None:
    usage = dialect.usage(answer)
    if not usage:
        return
    extra = tokens.generated - (usage.get(dialect.completion_key) or 0)
    usage[dialect.completion_key] = tokens.generated
    if "total_tokens" in usage:
        usage["total_tokens"] += extra
