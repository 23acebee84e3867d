"""The error tree and its one mapping to HTTP."""

import json

import pytest

from service.rerank.errors import (
    BelowMinReward,
    ClientLeft,
    DeadlineExceeded,
    EngineDown,
    InvalidRequest,
    NoCandidateLog,
    NothingComplete,
    NothingGenerated,
    NotKept,
    Overloaded,
    RewardModelDown,
    ServiceError,
    ShuttingDown,
    error_body,
)

TABLE = [
    (ServiceError("m"), 500, "server_error", "internal_error"),
    (InvalidRequest("m", param="best_of"), 400, "invalid_request_error", "invalid_value"),
    (NoCandidateLog("m"), 409, "invalid_request_error", "no_candidate_log"),
    (BelowMinReward("m", param="rerank.min_reward"), 424, "quality_error", "below_min_reward"),
    (NothingComplete("m", param="rerank.incomplete"), 424, "quality_error", "nothing_complete"),
    (Overloaded("m", retry_after_s=7), 429, "rate_limit_error", "overloaded"),
    (ClientLeft("m"), 499, "server_error", "cancelled"),
    (NothingGenerated("m"), 502, "server_error", "generation_failed"),
    (RewardModelDown("m"), 503, "server_error", "reward_unavailable"),
    (EngineDown("m"), 503, "server_error", "engine_unavailable"),
    (ShuttingDown("m", retry_after_s=0.5), 503, "server_error", "shutting_down"),
    (DeadlineExceeded("m", param="rerank.deadline_ms"), 504, "timeout_error", "deadline_exceeded"),
    (NotKept("m"), 507, "server_error", "not_kept"),
]


@pytest.mark.parametrize(("error", "status", "kind", "code"), TABLE, ids=lambda value: type(value).__name__)
def test_each_error_has_its_place_in_http(error: ServiceError, status: int, kind: str, code: str) -> None:
    assert error.status == status
    assert error_body(error) == {"error": {"message": "m", "type": kind, "param": error.param, "code": code}}


def descendants(error: type[ServiceError]) -> set[type[ServiceError]]:
    """Without those that are only there to be inherited from."""
    found = {one for child in error.__subclasses__() for one in (child, *descendants(child))}
    return {one for one in found if not one.__name__.startswith("_")}


def test_the_table_is_complete() -> None:
    assert {type(error) for error, *_ in TABLE} == {ServiceError, *descendants(ServiceError)}


def test_codes_are_unique() -> None:
    codes = [code for *_, code in TABLE]
    assert len(set(codes)) == len(codes)


def test_only_a_refusal_for_load_or_the_end_says_when_to_come_back() -> None:
    told = Overloaded("m", retry_after_s=6.25).headers
    assert told == {"retry-after": "7", "retry-after-ms": "6250", "x-should-retry": "true"}
    assert not any(
        "retry-after" in error.headers for error, *_ in TABLE if not isinstance(error, Overloaded | ShuttingDown)
    )


def test_clients_are_told_to_ask_again_only_where_it_can_help() -> None:
    again = {type(error) for error, *_ in TABLE if error.headers["x-should-retry"] == "true"}
    assert again == {Overloaded, NothingGenerated, RewardModelDown, EngineDown, ShuttingDown}


def test_any_text_can_be_written_as_json() -> None:
    message = 'quote " and \ud800 and \n'
    assert json.loads(json.dumps(error_body(ServiceError(message))))["error"]["message"] == message
