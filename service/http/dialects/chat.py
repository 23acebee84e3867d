"""OpenAI's chat completions and completions."""

from collections.abc import Sequence

from service.http.dialects.dialect import Event
from service.http.rerank_object import Json


class ChatDialect:
    """A stream of chunks without names, then `[DONE]`; an error is a chunk with nothing else in it."""

    completion_key = "completion_tokens"
    details_key: str | None = "completion_tokens_details"
    kinds: tuple[str, ...] = ("reasoning_tokens", "audio_tokens", "accepted_prediction_tokens")
    done = b"data: [DONE]\n\n"

    def usage(self, answer: Json) -> Json | None:
        return answer.get("usage")

    def carrier(self, event: Json) -> Json | None:
        """A chunk that could be the last: it ends a choice, or carries the usage behind all of them."""
        choices = event.get("choices")
        ends = choices == [] or any(choice.get("finish_reason") for choice in choices or [])
        return event if ends else None

    def is_end(self, event: Json) -> bool:
        return False

    def is_error(self, event: Json) -> bool:
        return event.get("error") is not None

    def error_body(self, error: Json, status: int) -> Json:
        return {"error": error}

    def error_events(self, error: Json, status: int, seen: Sequence[Json]) -> list[Event]:
        return [Event({"error": error})]
