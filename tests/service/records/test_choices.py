"""A person's choice: what is refused, what is kept, and that nothing is called kept which is not."""

import json
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from service.http.error_answers import answer_service_error
from service.records.candidate_log import CandidateLog, Outcome
from service.records.choices import preference_routes
from service.rerank.errors import ServiceError
from tests.service.fakes import Reply, call, is_openai_error

CHOICE: Mapping[str, Any] = {
    "prompt": [{"role": "system", "content": "Add."}, {"role": "user", "content": "What is 1+1?"}],
    "responses": ["2", "3"],
    "choice": 0,
}


def application(log: CandidateLog | None) -> Starlette:
    return Starlette(routes=preference_routes(log), exception_handlers={ServiceError: answer_service_error})


async def post(log: CandidateLog | None, body: Any, content_type: str | None = "application/json") -> Reply:
    app = application(log)
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {} if content_type is None else {"content-type": content_type}
    return await call(app, content, path="/v1/preferences", headers=headers)


def opened(directory: Path, counts: Counter[Outcome] | None = None) -> CandidateLog:
    def count(outcome: Outcome, records: int) -> None:
        if counts is not None:
            counts[outcome] += records

    return CandidateLog(directory, 10**6, count, reward_model="rewards", commit_interval_s=0.0, retry_s=0.0)


def rows(directory: Path) -> list[Any]:
    return [json.loads(line) for path in directory.glob("*.jsonl") for line in path.read_bytes().splitlines()]


@pytest.mark.parametrize(("choice", "ranks"), [(0, [0, 1]), (1, [1, 0]), ("tie", [0, 0])])
async def test_a_choice_is_on_the_disk_when_it_is_acknowledged(
    tmp_path: Path, choice: int | str, ranks: list[int]
) -> None:
    counts: Counter[Outcome] = Counter()
    told = {"model": "m", "request_id": "r", "rewards": [0.5, None], "annotator": "Ada"}
    with opened(tmp_path, counts) as log:
        reply = await post(log, {**CHOICE, **told, "choice": choice})
        (row,) = rows(tmp_path)
    assert (reply.status, reply.json) == (201, {"object": "preference", "ranks": ranks})
    assert row.pop("time")
    assert row == {
        "prompt": CHOICE["prompt"],
        "responses": ["2", "3"],
        "ranks": ranks,
        "rewards": [0.5, None],
        "labelled_by": {"by": "person", "annotator": "Ada"},
        "request_id": "r",
        "model": "m",
        "reward_model": "rewards",
    }
    assert counts["written"] == 1


async def test_a_full_disk_is_an_error_and_nothing_is_called_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    counts: Counter[Outcome] = Counter()
    with opened(tmp_path, counts) as log:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            reply = await post(log, CHOICE)
        again = await post(log, CHOICE)
    assert (reply.status, reply.json["error"]["code"]) == (507, "not_kept")
    assert "No space left" in reply.json["error"]["message"]
    assert (again.status, len(rows(tmp_path)), counts["failed"], counts["written"]) == (201, 1, 1, 1)


async def test_a_closed_log_keeps_nothing_and_says_so(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        pass
    assert (await post(log, CHOICE)).status == 507


async def test_without_a_candidate_log_people_are_told_before_they_work() -> None:
    app = application(None)
    asked = await call(app, path="/v1/preferences", method="GET")
    assert (asked.status, is_openai_error(asked.json)) == (409, True)
    assert "--candidate-log" in asked.json["error"]["message"]
    assert (await post(None, CHOICE)).status == 409


async def test_with_a_candidate_log_the_server_is_ready_to_keep(tmp_path: Path) -> None:
    app = Starlette(routes=preference_routes(opened(tmp_path)))
    assert (await call(app, path="/v1/preferences", method="GET")).json == {"status": "ready"}


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"annotater": "Ada"}, "annotater"),
    ({"prompt": [{"role": "user", "content": "q", "name": "x"}]}, "prompt.0.name"),
    ({"prompt": []}, "prompt"),
    ({"prompt": "q"}, "prompt"),
    ({"responses": ["2"]}, "responses"),
    ({"responses": ["2", "3", "4"]}, "responses"),
    ({"responses": ["2", 3]}, "responses.1"),
    ({"responses": ["2", "x" * 1_000_001]}, "responses.1"),
    ({"choice": 2}, "choice"),
    ({"choice": True}, "choice"),
    ({"choice": "0"}, "choice"),
    ({"rewards": [1.0]}, "rewards"),
    ({"rewards": [float("nan"), 1.0]}, "rewards.0"),
    ({"request_id": "x" * 257}, "request_id"),
]


@pytest.mark.parametrize(("wrong", "param"), WRONG, ids=[f"{index}-{param}" for index, (_, param) in enumerate(WRONG)])
async def test_what_cannot_be_meant_is_refused_by_name(tmp_path: Path, wrong: dict[str, Any], param: str) -> None:
    with opened(tmp_path) as log:
        reply = await post(log, {**CHOICE, **wrong})
    assert (reply.status, reply.json["error"]["param"], rows(tmp_path)) == (400, param, [])
    assert param in reply.json["error"]["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"choice": "\\ud800"}', b" " * (8 * 2**20 + 1)])
async def test_what_is_no_object_or_too_large_is_refused(tmp_path: Path, body: bytes) -> None:
    with opened(tmp_path) as log:
        reply = await post(log, body)
    assert (reply.status, reply.json["error"]["param"], is_openai_error(reply.json)) == (400, "body", True)


# What a page of another site can send without asking: https://fetch.spec.whatwg.org/#cors-safelisted-request-header
SIMPLE = ["text/plain", "text/plain; application/json", "multipart/form-data", "application/x-www-form-urlencoded"]


@pytest.mark.parametrize("content_type", [None, "", *SIMPLE, "application/json5", "application/json, text/plain"])
async def test_another_site_s_page_cannot_send_a_choice(tmp_path: Path, content_type: str | None) -> None:
    with opened(tmp_path) as log:
        reply = await post(log, CHOICE, content_type)
    assert (reply.status, reply.json["error"]["param"], rows(tmp_path)) == (400, "content-type", [])
    assert "content-type has to be application/json" in reply.json["error"]["message"]


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON", "application/json ;a"])
async def test_parameters_and_letters_of_the_content_type_do_not_matter(tmp_path: Path, content_type: str) -> None:
    with opened(tmp_path) as log:
        assert (await post(log, CHOICE, content_type)).status == 201
