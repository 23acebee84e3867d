"""What a dialect has to know."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from service.http.rerank_object import Json


@dataclass(frozen=True)
class Event:
    """A server-sent event that holds a JSON object. name: of its `event:` line, where the dialect has one."""

    payload: Json
    name: str | None = None

    def encode(self) -> bytes:
        data = b"data: " + encoded(self.payload) + b"\n\n"
        return data if self.name is None else b"event: " + self.name.encode() + b"\n" + data


class Dialect(Protocol):
    """completion_key: usage's name for generated tokens. details_key: for its object that tells them apart by kind.

    kinds: what that object always counts; strict clients refuse one without them.
    """

    completion_key: str
    details_key: str | None
    kinds: tuple[str, ...]
    done: bytes  # what a stream ends with, whatever came before; empty where nothing does

    def usage(self, answer: Json) -> Json | None:
        """The usage of a whole answer, or of an event that carries one."""
        ...

    def carrier(self, event: Json) -> Json | None:
        """In an event that could be the last with anything to read, the object that takes `rerank`."""
        ...

    def is_end(self, event: Json) -> bool:
        """Whether nothing but the end comes with and after the event."""
        ...

    def is_error(self, event: Json) -> bool:
        """Whether vLLM sends this in a stream that has failed."""
        ...

    def error_body(self, error: Json, status: int) -> Json:
        """A whole answer of an error, which is given as OpenAI's error object: message, type, param, code."""
        ...

    def error_events(self, error: Json, status: int, seen: Sequence[Json]) -> list[Event]:
        """What ends a stream that has failed. seen: its first and its last event; empty where there was none."""
        ...


def payload_of(event: bytes) -> Json | None:
    """The JSON object of an event; None for comments, [DONE] and anything else."""
    data = next((line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:")), b"")
    if not data.startswith(b"{"):
        return None
    payload = json.loads(data)
    return payload if isinstance(payload, dict) else None


def payloads(events: bytes) -> list[Json]:
    """The JSON objects of whole events."""
    return [payload for event in events.split(b"\n\n") if (payload := payload_of(event)) is not None]


def encoded(payload: Json) -> bytes:
    """As it goes over the wire."""
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace")
