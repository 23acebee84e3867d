"""What came of a request for a chat completion: how it is read, what it cost, what is wrong with it.

Pure, standard library only: both kinds of clients read with it, `measuring.client` under asyncio and locust's users,
whose process gevent has patched.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CHAT = "/v1/chat/completions"
DONE = "[DONE]"  # the data of a stream's last event
UNFINISHED = "the stream ended without [DONE]"
_LONGEST_WAIT_S = 60.0
_TRANSIENT = {0, 408, 409, 429}  # and the server's own faults, from 500 on

Json = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What came of one request."""

    index: int  # its place among the requests
    status: int  # of HTTP; 0 where no answer came
    due_s: float  # when it was to be sent, since the first one could be; in a closed loop, when it was sent
    latency_s: float  # from when it was due to the last byte: a client that lags behind hides nothing
    first_byte_s: float | None = None  # from then to the first byte, of a stream to the end of its first event
    body: Json | None = None  # the parsed JSON; of a stream the fields of its events, without the text
    retry_after_s: float | None = None  # that a refusal asked for
    error: str = ""  # one line; empty where it succeeded

    @property
    def ok(self) -> bool:
        return self.status == 200 and not self.error

    @property
    def refused(self) -> bool:
        """429: the server had no room."""
        return self.status == 429

    @property
    def transient(self) -> bool:
        """It failed for a reason that may have passed when it is sent again."""
        return not self.ok and (self.status in _TRANSIENT or self.status >= 500)

    @property
    def text(self) -> str:
        """Of the first choice. Raises LookupError for a failure, and for a stream, whose text is not kept."""
        text: str | None = (self.body or {})["choices"][0]["message"]["content"]
        return text or ""

    @property
    def rerank(self) -> Json:
        """The object `rerank`; empty where the server sent none."""
        return (self.body or {}).get("rerank") or {}

    @property
    def generated_tokens(self) -> int:
        """Tokens of all candidates, as `usage` bills them."""
        return int(((self.body or {}).get("usage") or {}).get("completion_tokens") or 0)

    @property
    def returned_tokens(self) -> int:
        """Tokens of the choices in the answer; without `rerank`, those are all that were generated."""
        tokens = self.rerank.get("tokens") or {}
        return int(tokens.get("returned", self.generated_tokens))

    @property
    def dollars(self) -> float | None:
        """The whole price; None where the server knows no prices."""
        total = (self.rerank.get("cost") or {}).get("total")
        return None if total is None else float(total)

    @property
    def stay_away_s(self) -> float:
        """How long a client that was refused waits: as long as it was asked to, within reason."""
        return min(self.retry_after_s or 1.0, _LONGEST_WAIT_S)


@dataclass
class Events:
    """A stream's events as they come."""

    fields: Json = field(default_factory=dict)  # the top-level ones, each as it was last given; not `choices`
    ended: bool = False  # whether the last event has come

    def add(self, data: bytes | str) -> None:
        """The data of one event; a comment is none."""
        text = data.decode(errors="replace") if isinstance(data, bytes) else data
        if text.strip() == DONE:
            self.ended = True
            return
        given = parsed(text) or {}
        self.fields |= {key: value for key, value in given.items() if key != "choices" and value is not None}

    def body(self) -> Json:
        """The fields, once no more will come; a stream that was cut off has the field `error`."""
        return self.fields if self.ended else {"error": UNFINISHED, **self.fields}


def parsed(data: bytes | str) -> Json | None:
    """The JSON object of a body or an event; None where it holds none."""
    try:
        value = json.loads(data)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def what_is_wrong(status: int, body: Mapping[str, Any] | None) -> str:
    """One line; empty where nothing is."""
    error = (body or {}).get("error")
    if status == 200 and body and not error:
        return ""
    message = error.get("message") if isinstance(error, Mapping) else error
    return one_line(f"HTTP {status}: {message or 'the body is not a JSON object'}")


def retry_after_s(header: str | None) -> float | None:
    """Of a retry-after header that gives seconds; a date is not read."""
    try:
        return None if header is None else max(float(header), 0.0)
    except ValueError:
        return None


def one_line(text: str) -> str:
    """Short enough for a table."""
    return " ".join(text.split())[:200]
