"""The error tree, and its one mapping to HTTP.

ServiceError
├── InvalidRequest       400  the request is at fault; names the field
├── NoCandidateLog       409  the server keeps no candidate log, so nothing can be stored in it
├── BelowMinReward       424  no candidate reaches the reward that the request asks for
├── NothingComplete      424  every candidate was cut off, and the request takes no such answer
├── Overloaded           429  too many candidates in flight; names a time to come back
├── ClientLeft           499  nobody is left to answer
├── NothingGenerated     502  every candidate failed
├── RewardModelDown      503  the reward model cannot answer
├── EngineDown           503  the generation engine died
├── ShuttingDown         503  the server was told to stop; names a time to come back
├── DeadlineExceeded     504  time was up before any candidate finished
└── NotKept              507  the candidate log could not store the record
"""

import math
from typing import Any

SHOWN_CHARACTERS = 60  # of what a client sent, in a message


class ServiceError(Exception):
    """An error with a place in HTTP. `param` names the field of the request at fault, where one is."""

    status = 500
    type = "server_error"
    code = "internal_error"
    retry = False  # whether asking again can help, which clients are told: each time may sample N candidates anew

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param

    @property
    def headers(self) -> dict[str, str]:
        """Response headers beside the body."""
        return {"x-should-retry": "true" if self.retry else "false"}


class InvalidRequest(ServiceError):
    """The request cannot be served as it stands."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_value"


class NoCandidateLog(ServiceError):
    """The server was started without a candidate log."""

    status = 409
    type = "invalid_request_error"
    code = "no_candidate_log"


class BelowMinReward(ServiceError):
    """Answers were generated and scored, and none is good enough; a larger model may do better."""

    status = 424
    type = "quality_error"
    code = "below_min_reward"


class NothingComplete(ServiceError):
    """Every candidate ran into the limit of its length; more tokens for each may help."""

    status = 424
    type = "quality_error"
    code = "nothing_complete"


class _Later(ServiceError):
    """There is a time to come back."""

    retry = True

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s

    @property
    def headers(self) -> dict[str, str]:
        """`retry-after` in whole seconds, as HTTP has it, and `retry-after-ms`, which OpenAI's clients prefer."""
        whole_s, ms = math.ceil(self.retry_after_s), round(self.retry_after_s * 1000)
        return {**super().headers, "retry-after": str(whole_s), "retry-after-ms": str(ms)}


class Overloaded(_Later):
    """Too many candidates are in flight."""

    status = 429
    type = "rate_limit_error"
    code = "overloaded"


class ClientLeft(ServiceError):
    """The client left before anything was generated for it."""

    status = 499  # nginx's own number; nobody reads it
    code = "cancelled"


class NothingGenerated(ServiceError):
    """Every candidate of the request failed."""

    status = 502
    code = "generation_failed"
    retry = True


class RewardModelDown(ServiceError):
    """The reward model is down, and `--on-reward-failure` is `error`."""

    status = 503
    code = "reward_unavailable"
    retry = True


class EngineDown(ServiceError):
    """The generation engine has died; the process is about to exit."""

    status = 503
    code = "engine_unavailable"
    retry = True


class ShuttingDown(_Later):
    """The server was told to stop; another one may take the request."""

    status = 503
    code = "shutting_down"


class DeadlineExceeded(ServiceError):
    """`rerank.deadline_ms` passed before any candidate finished."""

    status = 504
    type = "timeout_error"
    code = "deadline_exceeded"


class NotKept(ServiceError):
    """A record is not on the disk."""

    status = 507
    code = "not_kept"


def internal_error(error: Exception) -> ServiceError:
    """What a client learns of an exception that nobody foresaw: no more than its kind."""
    return ServiceError(f"internal error: {type(error).__name__}")


def error_body(error: ServiceError) -> dict[str, Any]:
    """OpenAI's error object."""
    return {"error": {"message": str(error), "type": error.type, "param": error.param, "code": error.code}}
