"""Bodies from a schema, with our fields, as they are and put into a request that would be answered."""

import json
import random
from typing import Any

import pytest

from loadtests.bench.faults.judge import Verdict
from loadtests.bench.faults.malformed import bodies_of, grafts, odd, sent, with_ours
from loadtests.bench.faults.record import Fault, Judged
from service.rerank.options import RerankOptions

CHAT = "/v1/chat/completions"


def operation(schema: dict[str, Any]) -> dict[str, Any]:
    answers = {"200": {"description": "done"}}
    return {"post": {"requestBody": {"content": {"application/json": {"schema": schema}}}, "responses": answers}}


FIELDS = {"messages": {"type": "array", "items": {"type": "string"}}, "seed": {"type": "integer"}}
SCHEMA = {
    "openapi": "3.1.0",
    "info": {"title": "t", "version": "0"},
    "paths": {
        CHAT: operation({"$ref": "#/components/schemas/Chat"}),
        "/tokenize": operation({"type": "object", "properties": {"prompt": {"type": "string"}}}),
        "/v1/responses/{id}": operation({"type": "object"}),
        "/health": {"get": {"responses": {"200": {"description": "well"}}}},
    },
    "components": {"schemas": {"Chat": {"type": "object", "properties": FIELDS, "required": ["messages"]}}},
}


def test_what_is_ours_is_added_where_it_is_not_published() -> None:
    found = with_ours(SCHEMA)
    fields = found["components"]["schemas"]["Chat"]["properties"]
    assert set(fields) == {"messages", "seed", "best_of", "rerank"}
    assert [parameter["name"] for parameter in found["paths"][CHAT]["post"]["parameters"]] == ["x-best-of"]
    assert with_ours(found) == found
    assert "best_of" not in FIELDS


def test_every_key_of_rerank_is_among_them() -> None:
    rerank = with_ours(SCHEMA)["components"]["schemas"]["Chat"]["properties"]["rerank"]
    assert set(rerank["properties"]) == set(RerankOptions.keys())
    assert "$ref" not in json.dumps(rerank), "a part that is nowhere in the published schema"


def test_bodies_are_posted_as_json_to_paths_without_a_variable() -> None:
    assert bodies_of(SCHEMA) == [CHAT, "/tokenize"]


@pytest.mark.parametrize("path", [CHAT, "/tokenize"])
def test_as_many_as_asked_for_the_same_for_the_same_seed(path: str) -> None:
    schema = with_ours(SCHEMA)
    found = odd(schema, path, 60, seed=3)
    assert len(found) == 60
    assert {asked.path for asked in found} == {path}
    assert [asked.body for asked in odd(schema, path, 60, seed=3)] == [asked.body for asked in found]
    assert len({asked.body for asked in found}) > 20


def test_a_graft_would_be_answered_but_for_one_or_two_fields() -> None:
    made = grafts(CHAT, {"seed": "x", "stop": 7, "max_tokens": -1, "n": 10**9}, random.Random(0))
    bodies = [json.loads(asked.body) for asked in made if isinstance(asked.body, bytes)]
    assert len(bodies) == 2
    assert all(body["max_tokens"] == 4 and "n" not in body and "messages" in body for body in bodies)
    assert all(body.get("seed") == "x" or body.get("stop") == 7 for body in bodies)


def test_only_malformed_requests_are_counted() -> None:
    judged = [Judged(CHAT, False, Verdict("error"), 0.1)] * 3
    assert sent([Fault("malformed", "asking", CHAT, judged), Fault("flood", "waiting", "x", judged)]) == 3
