"""Bodies that nobody means: schemathesis makes them from the schema that the server publishes.

Each of them is sent as it is, and then, field by field, put into a request that would be answered, so that what is odd
gets past the first check. What vLLM's schema does not publish of ours (`best_of`, `rerank`, x-best-of) is added to it.
"""

import asyncio
import json
import random
import urllib.request
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from loadtests.bench.faults.aftermath import quiet
from loadtests.bench.faults.judge import MESSAGES, RESPONSES, Verdict, judge
from loadtests.bench.faults.life import Life
from loadtests.bench.faults.record import Fault, Judged
from loadtests.bench.faults.traffic import CHAT, COMPLETIONS, asking
from loadtests.bench.faults.wire import Asked, Manners, Reply, send
from service.rerank.options import RerankOptions
from service.rerank.strategies import STRATEGIES

KIND = "malformed"
_GENERATING = (CHAT, COMPLETIONS, MESSAGES, RESPONSES)
_OTHERS_SHARE = 0.15  # of all requests, to all other endpoints together
_GRAFTS = 6  # requests from one body, beside itself
_CLIENTS = 8
_MANNERS = Manners(patience_s=30)
_SHOWN = 1500
_NOT_IMPLEMENTED = 501

# Of `rerank`, what the server reads by rules of its own, or with parts that the published schema has no place for.
_LOOSELY: dict[str, Any] = {
    "strategy": {"enum": sorted(strategy.name for strategy in STRATEGIES)},
    "checkpoint_tokens": {"type": "integer", "minimum": 1},
    "keep": {"anyOf": [{"type": "number"}, {"type": "array", "items": {"type": "number"}}]},
    "wave": {"type": "integer", "minimum": 1},
    "price": {"type": "number", "minimum": 0},
    "selection": {"anyOf": [{"type": "string"}, {"type": "object"}]},
    "conversation": {"anyOf": [{"type": "array", "items": {"type": "object"}}, {"type": "null"}]},
}
_OWN: dict[str, dict[str, Any]] = {
    "best_of": {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 8}, {"type": "null"}]},
    "rerank": {
        "type": "object",
        "properties": RerankOptions.model_json_schema()["properties"] | _LOOSELY,
        "additionalProperties": False,
    },
}
_OWN_HEADER = {"name": "x-best-of", "in": "header", "required": False, "schema": _OWN["best_of"]["anyOf"][0]}


async def fuzz(life: Life, examples: int, seed: int) -> list[Fault]:
    """At least so many requests. A fault for each endpoint, with every reply."""
    schema = with_ours(await asyncio.to_thread(_published, life.url))
    paths = [path for path in bodies_of(schema) if path not in _GENERATING]
    share = {path: examples * (1 - _OTHERS_SHARE) / len(_GENERATING) for path in _GENERATING}
    share |= {path: examples * _OTHERS_SHARE / max(len(paths), 1) for path in paths}
    faults = []
    for path, number in share.items():
        asked = await asyncio.to_thread(odd, schema, path, int(number) + 1, seed)
        replies = await _send_all(life.url, asked)
        faults.append(Fault(KIND, "asking", path, [_judged(reply) for reply in replies], goal_s=None))
    leaked = (await quiet(life)).leaked
    if faults and leaked:
        faults[-1].leaked = leaked
        faults[-1].wrong.append(f"{leaked} sequences or candidates in flight after the last request")
    return faults


def sent(faults: Iterable[Fault]) -> int:
    """How many of such requests were sent."""
    return sum(len(fault.judged) for fault in faults if fault.kind == KIND)


def with_ours(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema, with our fields and header where it does not publish them."""
    whole: dict[str, Any] = json.loads(json.dumps(schema))
    for path in _GENERATING:
        operation = whole["paths"].get(path, {}).get("post")
        if operation is None:
            continue
        described = operation["requestBody"]["content"]["application/json"]["schema"]
        model = (
            whole["components"]["schemas"][described["$ref"].rpartition("/")[2]] if "$ref" in described else described
        )
        for name, own in _OWN.items():
            model["properties"].setdefault(name, own)
        if not any(parameter.get("name", "").lower() == "x-best-of" for parameter in operation.get("parameters", [])):
            operation.setdefault("parameters", []).append(_OWN_HEADER)
    return whole


def bodies_of(schema: Mapping[str, Any]) -> list[str]:
    """Paths without a variable to which a JSON body is posted."""
    return [
        path
        for path, methods in schema["paths"].items()
        if "{" not in path and "application/json" in methods.get("post", {}).get("requestBody", {}).get("content", {})
    ]


def odd(schema: Mapping[str, Any], path: str, number: int, seed: int) -> list[Asked]:
    """So many requests, half of the bodies they are made of after the schema and half against it."""
    rng = random.Random(f"{seed} {path}")
    found: list[Asked] = []
    for body, headers in _cases(schema, path, number, seed):
        found.append(Asked(path, body if isinstance(body, bytes) else json.dumps(body).encode(), headers))
        if isinstance(body, dict) and path in _GENERATING:
            found += [replace(graft, headers=headers) for graft in grafts(path, body, rng)]
        if len(found) >= number:
            break
    return found[:number]


def grafts(path: str, body: Mapping[str, Any], rng: random.Random) -> list[Asked]:
    """Requests that would be answered, but for one or two fields of that body."""
    names = [name for name in body if name not in ("max_tokens", "max_output_tokens", "max_completion_tokens", "n")]
    made = []
    for _ in range(min(_GRAFTS, len(names))):
        chosen = {name: body[name] for name in rng.sample(names, k=min(len(names), rng.choice((1, 1, 2))))}
        valid = asking(path, question="1+1?", best_of=2, tokens=4)
        assert not isinstance(valid.body, bytes)
        made.append(Asked(path, json.dumps({**valid.body, **chosen}).encode()))
    return made


def _cases(schema: Mapping[str, Any], path: str, number: int, seed: int) -> Iterator[tuple[Any, dict[str, str]]]:
    """Bodies and headers, from schemathesis."""
    import hypothesis
    import schemathesis
    from schemathesis import GenerationMode

    operation = schemathesis.openapi.from_dict(dict(schema))[path]["POST"]
    per_mode = number // (2 * (1 + _GRAFTS // 2)) + 1 if path in _GENERATING else number // 2 + 1
    found: list[Any] = []
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=per_mode,
            database=None,
            deadline=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(operation.as_strategy(generation_mode=mode))
        def keep(case: Any) -> None:
            found.append(case)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            keep()
    random.Random(seed).shuffle(found)
    while True:  # each again, with other grafts, where there were too few
        yield from ((_body(case), _headers(case)) for case in found)


def _body(case: Any) -> Any:
    return case.body if isinstance(case.body, bytes | dict | list | str | int | float | bool) else None


def _headers(case: Any) -> dict[str, str]:
    """Those that HTTP can carry."""
    wanted = {str(name).lower(): str(value) for name, value in (case.headers or {}).items()}
    ours = {name: value for name, value in wanted.items() if name == "x-best-of"}
    return {name: value for name, value in ours.items() if value.isascii() and value.isprintable()}


def _published(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/openapi.json", timeout=60) as answer:
        found: dict[str, Any] = json.loads(answer.read())
    return found


async def _send_all(url: str, asked: list[Asked]) -> list[Reply]:
    places = asyncio.Semaphore(_CLIENTS)

    async def one(request: Asked) -> Reply:
        async with places:
            return await send(url, request, _MANNERS)

    return await asyncio.gather(*(one(request) for request in asked))


def _judged(reply: Reply) -> Judged:
    """Any 5xx is a miss here, but for 501: the model cannot do that at all. Endpoints of other kinds owe only JSON."""
    verdict = judge(reply)
    if reply.status >= 500 and reply.status != _NOT_IMPLEMENTED:
        verdict = Verdict("miss", verdict.evidence or f"{reply.status}")
    elif reply.status == 200 and reply.whole and reply.asked.path not in _GENERATING:
        verdict = Verdict("answer")
    body = reply.asked.body if isinstance(reply.asked.body, bytes) else b""
    said = verdict.kind == "miss" and body[:_SHOWN].decode("utf-8", "replace") + f" {dict(reply.asked.headers)}"
    shown = verdict if verdict.kind == "miss" else replace(verdict, evidence="")
    return Judged(reply.asked.path, False, shown, reply.ended_s - reply.sent_s, said or "")
