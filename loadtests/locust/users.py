"""The users of a load test: each asks, reads the answer to its last byte, and asks again.

Locust's FastHttpUser does it: geventhttpclient takes a fraction of the CPU that requests takes, which matters where
server and users share a machine, and its responses can be read line by line as they come, so that the first event of a
stream can be timed (`read(n)` would wait for n bytes).
"""

import itertools
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from locust import FastHttpUser, task
from locust.contrib.fasthttp import FAILURE_EXCEPTIONS
from locust.event import EventHook

from loadtests.workload import Mix, workload_path
from measuring import answers
from measuring.answers import CHAT

_WORTH_PARSING = (b'"usage"', b'"error"')


class Failure(Exception):
    """A request that was neither answered nor refused."""


@dataclass(frozen=True)
class Outcome:
    """What came of a request. Times are milliseconds from sending: to the last byte, and to the end of the first event.

    first_byte_ms: None but for a stream. generated: tokens of all candidates. returned: of the answer. bytes: of the
    body. retry_after_s: as a refusal said.
    """

    status: int
    total_ms: float
    bytes: int
    first_byte_ms: float | None = None
    generated: int = 0
    returned: int = 0
    retry_after_s: float | None = None
    error: str = ""


answered = EventHook()
"""Fired after each request with `environment`, `query` (workload.Query) and `outcome` (Outcome)."""


@cache
def load_mix(path: str) -> Mix:
    """A workload, by its name or file, read once in a process."""
    return Mix.load(workload_path(path))


class BestOfUser(FastHttpUser):
    """Asks for chat completions as the workload has it, and stays away as long as a refusal asks."""

    network_timeout = connection_timeout = 600.0
    insecure = False
    _numbers = itertools.count()

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        options = environment.parsed_options
        self._mix = load_mix(options.workload)
        self._best_of_field: str = options.best_of_field
        self._model: str = options.model
        self._headers = {"Accept-Encoding": "identity"}  # a compressed stream has no lines
        if options.api_key:
            self._headers["Authorization"] = f"Bearer {options.api_key}"
        worker = getattr(environment.runner, "worker_index", 0)
        self._random = random.Random(f"{self._mix.workload.seed}:{worker}:{next(self._numbers)}")
        self._stay_away_s = 0.0

    def wait_time(self) -> float:
        """Seconds until the next request. Locust may stop a user while it waits, but not amid a request."""
        return max(self._stay_away_s, self._mix.think_s(self._random))

    @task
    def chat(self) -> None:
        """One request."""
        query = self._mix.draw(self._random)
        body = query.body(best_of_field=self._best_of_field, model=self._model)
        start_time, sent_s = time.time(), time.perf_counter()
        outcome = self._send(body, sent_s)
        refused = outcome.status == 429
        self._stay_away_s = answers.stay_away_s(outcome.retry_after_s) if refused else 0.0
        if not refused:
            self.environment.events.request.fire(
                request_type="POST",
                name=query.name,
                response_time=outcome.total_ms,
                response_length=outcome.bytes,
                exception=Failure(outcome.error) if outcome.error else None,
                context={},
                start_time=start_time,
                url=f"{self.host}{CHAT}",
            )
        answered.fire(environment=self.environment, query=query, outcome=outcome)

    def _send(self, body: Mapping[str, Any], sent_s: float) -> Outcome:
        # Neither entered as a context manager nor read, so that locust counts nothing by itself.
        response = self.client.post(
            CHAT, json=dict(body), headers=self._headers, stream=True, catch_response=True, allow_redirects=False
        )
        status: int = response.status_code
        headers: Mapping[str, Any] = response.headers or {}
        if not status:
            return Outcome(
                0, _ms_since(sent_s), 0, error=answers.one_line(f"{getattr(response, 'error', 'no answer')}")
            )
        try:
            if headers.get("content-type", "").startswith("text/event-stream"):
                read = _Stream(response.stream, sent_s)
                size, fields, first_byte_ms = read.size, read.fields, read.first_byte_ms
            else:
                content = response.content or b""
                size, fields, first_byte_ms = len(content), answers.parsed(content) or {}, None
        except FAILURE_EXCEPTIONS as error:
            return Outcome(status, _ms_since(sent_s), 0, error=answers.one_line(f"{type(error).__name__}: {error}"))
        return Outcome(
            status=status,
            total_ms=_ms_since(sent_s),
            bytes=size,
            first_byte_ms=first_byte_ms,
            generated=answers.generated_tokens(fields),
            returned=answers.returned_tokens(fields),
            retry_after_s=answers.retry_after_s(headers.get("retry-after")),
            error="" if status == 429 else answers.what_is_wrong(status, fields),
        )


class _Stream:
    """A stream of events, read to its end. fields: of its last event that bills or complains."""

    def __init__(self, stream: Any, sent_s: float) -> None:
        self.size = 0
        self.fields: dict[str, Any] = {}
        self.first_byte_ms: float | None = None
        ended = False
        for line in _lines(stream):
            self.size += len(line)
            if not line.startswith(b"data:"):  # a comment that keeps the connection alive is no part of the answer
                continue
            if self.first_byte_ms is None:
                self.first_byte_ms = _ms_since(sent_s)
            ended = ended or line.removeprefix(b"data:").strip() == answers.DONE.encode()
            if any(mark in line for mark in _WORTH_PARSING):
                self.fields |= answers.parsed(line.removeprefix(b"data:")) or {}
        stream.release()
        if not ended:
            self.fields.setdefault("error", answers.UNFINISHED)


def _lines(stream: Any) -> Iterator[bytes]:
    return iter(lambda: stream.readline(b"\n"), b"")


def _ms_since(moment_s: float) -> float:
    return (time.perf_counter() - moment_s) * 1000
