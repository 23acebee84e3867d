"""OpenAI's responses."""

from collections.abc import Sequence

from service.http.dialects.dialect import Event
from service.http.rerank_object import Json

_ENDS = ("response.completed", "response.incomplete", "response.failed")


class ResponsesDialect:
    """A stream of named, numbered events, whose last carries the whole response; nothing comes after it."""

    completion_key = "output_tokens"
    details_key: str | None = "output_tokens_details"
    kinds: tuple[str, ...] = ("reasoning_tokens",)
    done = b""

    def usage(self, answer: Json) -> Json | None:
        return (self.carrier(answer) or answer).get("usage")

    def carrier(self, event: Json) -> Json | None:
        return event.get("response") if event.get("type") in _ENDS else None

    def is_end(self, event: Json) -> bool:
        return False

    def is_error(self, event: Json) -> bool:
        return event.get("type") == "error"

    def error_body(self, error: Json, status: int) -> Json:
        return {"error": error}

    def error_events(self, error: Json, status: int, seen: Sequence[Json]) -> list[Event]:
        """As OpenAI ends them: the error, and the response that failed by it.

        The event has the error's fields beside it, as OpenAI documents, and in `error`, as OpenAI sends them: the
        official clients raise by the second.
        """
        numbers = [event.get("sequence_number") for event in seen]
        number = max((number for number in numbers if isinstance(number, int)), default=-1) + 1
        fields = {name: error.get(name) for name in ("code", "message", "param")}
        told = Event({"type": "error", "sequence_number": number, **fields, "error": error}, "error")
        opened = next((event["response"] for event in seen if isinstance(event.get("response"), dict)), None)
        if opened is None:
            return [told]
        failed = {**opened, "status": "failed", "error": {"code": error.get("code"), "message": error.get("message")}}
        payload = {"type": "response.failed", "sequence_number": number + 1, "response": failed}
        return [told, Event(payload, "response.failed")]
