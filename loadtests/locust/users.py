"""The users of a load test: each asks, reads the answer to its last byte, and asks again.

Locust's FastHttpUser does it: geventhttpclient takes a fraction of the CPU that requests takes, which matters where
server and users share a machine, and its responses can be read line by line as they come, so that the first event of a
stream can be timed (`read(n)` would wait for n bytes).
"""

import itertools
import random
import time
from collections.abc import Mapping
from functools import cache
from typing import Any

from locust import FastHttpUser, task
from locust.contrib.fasthttp import FAILURE_EXCEPTIONS
from locust.event import EventHook

from loadtests.workload import Mix, workload_path
from measuring.answers import CHAT, DONE, Answer, Events, Json, one_line, parsed, retry_after_s, what_is_wrong

_WORTH_PARSING = (b'"usage"', b'"error"', DONE.encode())


class Failure(Exception):
    """A request that was neither answered nor refused."""


answered = EventHook()
"""Fired after each request with `environment`, `query` (workload.Query) and `answer` (answers.Answer)."""


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
        self._began_s = time.perf_counter()
        self._asked = 0
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
        answer, size = self._send(body, sent_s)
        self._stay_away_s = answer.stay_away_s if answer.refused else 0.0
        if not answer.refused:
            self.environment.events.request.fire(
                request_type="POST",
                name=query.name,
                response_time=answer.latency_s * 1000,
                response_length=size,
                exception=Failure(answer.error) if answer.error else None,
                context={},
                start_time=start_time,
                url=f"{self.host}{CHAT}",
            )
        answered.fire(environment=self.environment, query=query, answer=answer)

    def _send(self, body: Mapping[str, Any], sent_s: float) -> tuple[Answer, int]:
        """The answer, and the bytes of its body."""
        # Neither entered as a context manager nor read, so that locust counts nothing by itself.
        response = self.client.post(
            CHAT, json=dict(body), headers=self._headers, stream=True, catch_response=True, allow_redirects=False
        )
        headers: Mapping[str, Any] = response.headers or {}
        if not response.status_code:
            return self._answer(0, sent_s, error=one_line(f"{getattr(response, 'error', 'no answer')}")), 0
        read: Json | None
        try:
            if headers.get("content-type", "").startswith("text/event-stream"):
                read, size, first_byte_s = _read_events(response.stream, sent_s)
            else:
                content = response.content or b""
                read, size, first_byte_s = parsed(content), len(content), None
        except FAILURE_EXCEPTIONS as error:
            return self._answer(response.status_code, sent_s, error=one_line(f"{type(error).__name__}: {error}")), 0
        asked_s = retry_after_s(headers.get("retry-after"))
        return self._answer(response.status_code, sent_s, read, first_byte_s, asked_s), size

    def _answer(
        self,
        status: int,
        sent_s: float,
        body: Json | None = None,
        first_byte_s: float | None = None,
        asked_s: float | None = None,
        *,
        error: str = "",
    ) -> Answer:
        self._asked += 1
        return Answer(
            index=self._asked - 1,
            status=status,
            due_s=sent_s - self._began_s,
            latency_s=time.perf_counter() - sent_s,
            first_byte_s=first_byte_s,
            body=body,
            retry_after_s=asked_s,
            error=error or what_is_wrong(status, body),
        )


def _read_events(stream: Any, sent_s: float) -> tuple[Json, int, float | None]:
    """The body of a stream, read to its end, its bytes, and the seconds to the end of its first event.

    Only events that bill or complain are parsed: the rest would cost the load generator more than all else it does.
    """
    events, size, first_s = Events(), 0, None
    for line in iter(lambda: stream.readline(b"\n"), b""):
        size += len(line)
        if not line.startswith(b"data:"):  # a comment that keeps the connection alive is no part of the answer
            continue
        first_s = time.perf_counter() - sent_s if first_s is None else first_s
        if any(mark in line for mark in _WORTH_PARSING):
            events.add(line.removeprefix(b"data:"))
    stream.release()
    return events.body(), size, first_s
