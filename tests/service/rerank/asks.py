"""Reads what a client asks, as the gateway does, or names the field for which it is refused."""

import json
from dataclasses import replace
from typing import Any

import pytest

from reward.config import RewardConfig
from service.rerank.errors import InvalidRequest
from service.rerank.request import Ask, Endpoint, Limits, read_ask

DEFAULT_4 = Limits(default_best_of=4, max_best_of=16, max_candidates=32)


def read(body: Any, header: str | None = None, endpoint: Endpoint = "chat", limits: Limits = DEFAULT_4) -> Ask:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_ask(endpoint, content, header, limits)


def refusal(body: Any, header: str | None = None, endpoint: Endpoint = "chat", limits: Limits = DEFAULT_4) -> str:
    """The field that the refusal names; its message names it too."""
    with pytest.raises(InvalidRequest) as caught:
        read(body, header, endpoint, limits)
    assert caught.value.param is not None
    assert caught.value.param.split(".")[-1] in str(caught.value)
    return caught.value.param


def read_or_refusal(*arguments: Any, **options: Any) -> Ask | InvalidRequest:
    try:
        return read(*arguments, **options)
    except InvalidRequest as error:
        return error


HEADS = RewardConfig(("helpful", "short"), 0.5, 2.0)


ENSEMBLE = replace(DEFAULT_4, reward=HEADS)
