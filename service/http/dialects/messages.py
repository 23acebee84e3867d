"""Anthropic's messages."""

from collections.abc import Mapping, Sequence

from service.http.dialects.dialect import Event
from service.http.rerank_object import Json

# Anthropic's names of what went wrong, by status; other statuses keep the type that the error came with.
_TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    503: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class MessagesDialect:
    """A stream of named events, the last of which is `message_stop`; an error takes its place."""

    completion_key = "output_tokens"
    details_key: str | None = None
    kinds: tuple[str, ...] = ()
    done = b""

    def usage(self, answer: Json) -> Json | None:
        return answer.get("usage")

    def carrier(self, event: Json) -> Json | None:
        return event if event.get("type") == "message_delta" else None

    def is_end(self, event: Json) -> bool:
        return event.get("type") == "message_stop"

    def is_error(self, event: Json) -> bool:
        return event.get("type") == "error"

    def error_body(self, error: Json, status: int) -> Json:
        return {"type": "error", "error": {**error, "type": _TYPES.get(status, error.get("type"))}}

    def error_events(self, error: Json, status: int, seen: Sequence[Json]) -> list[Event]:
        return [Event(self.error_body(error, status), "error")]
