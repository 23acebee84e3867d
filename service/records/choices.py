"""A person's word on two answers, kept in the candidate log for the trainers: `POST /v1/preferences`.

A choice is acknowledged only when it is on the disk. `training.data.read` reads it as a ranking of the two responses.
"""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

from service.records.candidate_log import CandidateLog
from service.rerank.errors import SHOWN_CHARACTERS, InvalidRequest, NoCandidateLog, NotKept

_BODY_BYTES = 8 * 2**20
_JSON = "application/json"
_RANKS: Mapping[int | str, list[int]] = {0: [0, 1], 1: [1, 0], "tie": [0, 0]}

Text = Annotated[str, Field(max_length=1_000_000)]
Name = Annotated[str, Field(min_length=1, max_length=256)]
Reward = Annotated[float, Field(allow_inf_nan=False)]


def _refuse_bool(value: Any) -> Any:
    """Python takes true for 1, but whoever sends it does not mean the second response."""
    return None if isinstance(value, bool) else value


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Message(_Strict):
    """One message of the conversation that the responses answer; text only."""

    role: Name
    content: Text


class Preference(_Strict):
    """A person's choice between two responses."""

    prompt: list[Message] = Field(min_length=1, max_length=1000)
    responses: list[Text] = Field(min_length=2, max_length=2)
    choice: Annotated[Literal[0, 1, "tie"], BeforeValidator(_refuse_bool)]  # index of the better response, or "tie"
    model: Name | None = None
    request_id: Name | None = None  # of the completion that the responses are from
    # The reward model's, where there is one.
    rewards: Annotated[list[Reward | None], Field(min_length=2, max_length=2)] | None = None
    annotator: Name | None = None  # who chose, in whatever words


def preference_routes(candidate_log: CandidateLog | None) -> list[BaseRoute]:
    """candidate_log: where choices go; None answers every one of them with 409."""

    async def can_keep(_: Request) -> JSONResponse:
        _log(candidate_log)
        return JSONResponse({"status": "ready"})

    async def keep(request: Request) -> JSONResponse:
        log = _log(candidate_log)
        _require_json(request)
        row = preference_row(read_preference(await _body(request)), datetime.now(UTC), log.reward_model)
        await _store(log, row)
        return JSONResponse({"object": "preference", "ranks": row["ranks"]}, status_code=201)

    path = "/v1/preferences"
    return [Route(path, can_keep, methods=["GET"]), Route(path, keep, methods=["POST"])]


def read_preference(body: bytes) -> Preference:
    """Raises InvalidRequest, which names the field at fault."""
    try:
        return Preference.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))[:SHOWN_CHARACTERS] or "body"
        if first["type"] == "extra_forbidden":
            known = ", ".join(Preference.model_fields if len(first["loc"]) == 1 else Message.model_fields)
            raise InvalidRequest(f"{field} is not a known key; known keys are {known}", param=field) from None
        raise InvalidRequest(f"{field}: {first['msg']}", param=field) from None


def preference_row(preference: Preference, at: datetime, reward_model: str | None) -> dict[str, Any]:
    """The record of a choice. Its ranks are a person's; rewards stay apart from `scores`, which trainers learn from."""
    return {
        "prompt": [message.model_dump() for message in preference.prompt],
        "responses": preference.responses,
        "ranks": _RANKS[preference.choice],
        "rewards": preference.rewards,
        "labelled_by": {"by": "person", "annotator": preference.annotator},
        "request_id": preference.request_id,
        "time": at.isoformat(timespec="milliseconds"),
        "model": preference.model,
        "reward_model": reward_model,
    }


def _log(candidate_log: CandidateLog | None) -> CandidateLog:
    if candidate_log is None:
        raise NoCandidateLog("this server keeps no candidate log: start it with `bestofn serve --candidate-log DIR`")
    return candidate_log


async def _store(log: CandidateLog, row: Mapping[str, Any]) -> None:
    """Raises NotKept, when the disk does not take it."""
    try:
        await asyncio.wrap_future(log.put(row))
    except Exception as error:
        raise NotKept(f"the choice was not stored: {error}") from error


def _require_json(request: Request) -> None:
    """Another site's page may send plain text and forms unasked; for JSON its browser asks this server first (CORS)."""
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != _JSON:
        found = content_type[:SHOWN_CHARACTERS] or "none"
        raise InvalidRequest(f"content-type has to be {_JSON}, not {found}", param="content-type")


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _BODY_BYTES:
            raise InvalidRequest(f"the request body is larger than {_BODY_BYTES >> 20} MiB", param="body")
    return bytes(body)
