"""What goes back to the client: vLLM's answer, with the whole bill in `usage` and one `rerank` object added.

Each endpoint keeps its own shape; its dialect says where usage and `rerank` go, and how a failure looks. Nothing else
of vLLM's answer is touched, and an answer that was not reranked is passed on byte for byte.
"""

import json
from collections.abc import Iterator

from service.http.dialects import Dialect, dialect_of_endpoint
from service.http.dialects.dialect import encoded, payload_of, payloads
from service.http.rerank_object import Json, rerank_object
from service.rerank.context import RequestContext
from service.rerank.errors import ServiceError, error_body
from service.rerank.ledger import Tokens, count_tokens


def patch_answer(body: bytes, context: RequestContext) -> bytes:
    """A whole JSON answer with usage and `rerank` filled in; anything but an object comes back as it was."""
    answer = json.loads(body)
    if not isinstance(answer, dict) or not context.ledgers:
        return body
    _bill(dialect_of_endpoint(context.ask.endpoint), answer, count_tokens(context.ledgers))
    answer["rerank"] = rerank_object(context)
    return encoded(answer)


class StreamPatcher:
    """Rewrites a server-sent event stream.

    Holds each event that could be the last to carry `rerank`, and what follows it, until a later one comes or the
    stream ends. Where an event gives usage before that, it is what all candidates have come to so far.
    """

    def __init__(self, context: RequestContext) -> None:
        self._context = context
        self._dialect = dialect_of_endpoint(context.ask.endpoint)
        self._rest = b""
        self._held: list[bytes] = []
        self._seen: list[Json] = []  # the first payload and the last
        self._generated = 0  # tokens, as last reported
        self._over = False
        self.ended = False  # the stream's last event has been made

    def feed(self, chunk: bytes) -> bytes:
        """The events that can be sent on now."""
        *events, self._rest = (self._rest + chunk).split(b"\n\n")
        return b"".join(part for event in events if not self._over for part in self._pass(event + b"\n\n"))

    def note(self, chunk: bytes) -> None:
        """Events that went out without coming through here; how a stream may end depends on them."""
        for payload in payloads(chunk):
            self._seen = [*self._seen[:1], payload]

    def _pass(self, event: bytes) -> Iterator[bytes]:
        payload = payload_of(event)
        if payload is None:
            yield from self._pass_other(event)
            return
        if self._dialect.is_error(payload):
            yield from self._pass_error(event)
            return
        self._seen = [*self._seen[:1], payload]
        if self._dialect.is_end(payload):
            yield from self._end(event)
            return
        if self._dialect.carrier(payload) is None:
            yield from self._let_go()
            yield self._so_far(event, payload)
            return
        yield from self._let_go()
        self._held = [self._so_far(event, payload)]

    def _pass_other(self, event: bytes) -> Iterator[bytes]:
        """What holds no object: the end of a stream, or a comment, which some clients take for an event without it."""
        if event.startswith(b"data: [DONE]"):
            yield from self._end(event)
            return
        passed = event[:-1] if event.startswith(b":") else event
        if self._held:
            self._held.append(passed)
        else:
            yield passed

    def _pass_error(self, event: bytes) -> Iterator[bytes]:
        """An error of ours in its own words; another's as it is, behind what is held."""
        if self._context.error is not None:
            yield self.fail(self._context.error)
        elif self._held:
            self._held.append(event)
        else:
            yield event

    def _end(self, event: bytes) -> Iterator[bytes]:
        self.ended = True
        yield self.flush()
        yield event

    def _let_go(self) -> list[bytes]:
        held, self._held = self._held, []
        return held

    def _so_far(self, event: bytes, payload: Json) -> bytes:
        usage = self._dialect.usage(payload)
        if not usage or not self._context.ledgers:
            return event
        given = usage.get(self._dialect.completion_key) or 0
        self._generated = max(self._generated, given, count_tokens(self._context.ledgers).generated)
        _count(self._dialect, usage, self._generated)
        return _with_payload(event, payload)

    def flush(self) -> bytes:
        """What is held, completed; empty when nothing is."""
        held = self._let_go()
        if not held or not self._context.ledgers:
            return b"".join(held)
        event, *rest = held
        payload = payload_of(event)
        assert payload is not None
        self._complete(payload)
        return _with_payload(event, payload) + b"".join(rest)

    def fail(self, error: ServiceError) -> bytes:
        """What is held, and the end of a stream that has failed; nothing of vLLM's comes after it."""
        held = self.flush()
        self._over = self.ended = True
        events = self._dialect.error_events(error_body(error)["error"], error.status, self._seen)
        for event in events:
            self._complete(event.payload)
        return held + b"".join(event.encode() for event in events) + self._dialect.done

    def _complete(self, payload: Json) -> None:
        """The whole bill and `rerank`, where the event can carry them."""
        carrier = self._dialect.carrier(payload)
        if carrier is not None and self._context.ledgers:
            _bill(self._dialect, payload, count_tokens(self._context.ledgers))
            carrier["rerank"] = rerank_object(self._context)


def _with_payload(event: bytes, payload: Json) -> bytes:
    """The event with other data and its own type line."""
    data = b"data: " + encoded(payload)
    lines = [data if line.startswith(b"data:") else line for line in event.rstrip(b"\n").split(b"\n")]
    return b"\n".join(lines) + b"\n\n"


def _bill(dialect: Dialect, answer: Json, tokens: Tokens) -> None:
    """Every generated token, and of them those that are in no answer, under OpenAI's name for what is billed like that.

    OpenAI has it for predicted outputs.
    """
    usage = dialect.usage(answer)
    if not usage:
        return
    _count(dialect, usage, tokens.generated)
    if dialect.details_key is not None:
        details = dict.fromkeys(dialect.kinds, 0) | (usage.get(dialect.details_key) or {})
        usage[dialect.details_key] = details | {"rejected_prediction_tokens": tokens.generated - tokens.returned}


def _count(dialect: Dialect, usage: Json, generated: int) -> None:
    extra = generated - (usage.get(dialect.completion_key) or 0)
    usage[dialect.completion_key] = generated
    if "total_tokens" in usage:
        usage["total_tokens"] += extra
