"""How an answer to a chat completion is read: what it cost, and what is wrong with it. Pure, standard library only.

Both kinds of clients read with it: `drive`, under asyncio, and locust's users, whose process gevent has patched.
"""

import json
from collections.abc import Mapping
from typing import Any

CHAT = "/v1/chat/completions"
DONE = "[DONE]"  # the data of a stream's last event
UNFINISHED = "the stream ended without [DONE]"
_LONGEST_WAIT_S = 60.0

Json = dict[str, Any]


def parsed(data: bytes | str) -> Json | None:
    """The JSON object of a body or an event; None where it holds none."""
    try:
        value = json.loads(data)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def what_is_wrong(status: int, body: Mapping[str, Any] | None) -> str:
    """One line; empty where nothing is. body: of a stream the fields of its events together."""
    error = (body or {}).get("error")
    if status == 200 and body and not error:
        return ""
    message = error.get("message") if isinstance(error, Mapping) else error
    return one_line(f"HTTP {status}: {message or 'the body is not a JSON object'}")


def generated_tokens(body: Mapping[str, Any] | None) -> int:
    """Tokens of all candidates, as `usage` bills them."""
    return int(((body or {}).get("usage") or {}).get("completion_tokens") or 0)


def returned_tokens(body: Mapping[str, Any] | None) -> int:
    """Tokens of the choices in the answer; without `rerank`, those are all that were generated."""
    tokens = ((body or {}).get("rerank") or {}).get("tokens") or {}
    return int(tokens.get("returned", generated_tokens(body)))


def retry_after_s(header: str | None) -> float | None:
    """Of a retry-after header that gives seconds; a date is not read."""
    try:
        return None if header is None else max(float(header), 0.0)
    except ValueError:
        return None


def stay_away_s(asked_s: float | None) -> float:
    """How long a client that was refused waits: as long as it was asked to, within reason."""
    return min(asked_s or 1.0, _LONGEST_WAIT_S)


def one_line(text: str) -> str:
    """Short enough for a table."""
    return " ".join(text.split())[:200]
