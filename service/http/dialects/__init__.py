"""How each endpoint speaks: where its usage is, how its errors look, how its streams end. One dialect for each."""

from collections.abc import Mapping

from service.http.dialects.chat import ChatDialect
from service.http.dialects.dialect import Dialect, Event
from service.http.dialects.messages import MessagesDialect
from service.http.dialects.responses import ResponsesDialect
from service.rerank.request import ENDPOINTS, Endpoint

__all__ = ["DIALECTS", "Dialect", "Event", "dialect_of", "dialect_of_endpoint"]

_CHAT = ChatDialect()

DIALECTS: Mapping[Endpoint, Dialect] = {
    "chat": _CHAT,
    "completions": _CHAT,
    "responses": ResponsesDialect(),
    "messages": MessagesDialect(),
}


def dialect_of_endpoint(endpoint: Endpoint) -> Dialect:
    """What is passed on speaks as OpenAI's chat does, as far as it has to be read."""
    return DIALECTS.get(endpoint, _CHAT)


def dialect_of(path: str) -> Dialect:
    """Of any route, by its path without a root path: what no endpoint of its own has speaks as OpenAI's chat does."""
    return next((DIALECTS[endpoint] for root, endpoint in ENDPOINTS.items() if path.startswith(root)), _CHAT)
