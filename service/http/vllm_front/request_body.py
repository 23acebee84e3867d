"""A JSON body as vLLM can read it: without model aliases, without characters that are none."""

import json
import re
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.http.body import joined, read_messages, replay, with_body
from service.http.error_answers import send_error
from service.rerank.errors import InvalidRequest
from service.rerank.request import model_behind

_SURROGATE = re.compile("[\ud800-\udfff]")
# What a body with half of a surrogate pair in it holds at least: an escape, its bytes, or those of UTF-16 and UTF-32.
_SUSPICIOUS = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]|\x00")
_ALIAS = b":best-of-"


class RequestBody:
    """Puts the name of the model in place of an alias on any route that takes one, and refuses lone surrogates.

    Of the completions the gateway has read the alias already. A lone surrogate is no character: tokenizers and
    engines fail on it. Python's JSON parser lets it pass.
    """

    def __init__(self, app: ASGIApp, max_best_of: int) -> None:
        self._app = app
        self._max_best_of = max_best_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or not _is_json(scope):
            await self._app(scope, receive, send)
            return
        messages = await read_messages(receive)
        body = joined(messages)
        try:
            readable = self._readable(body)
        except InvalidRequest as error:
            await send_error(send, error)
            return
        if readable is not body:
            scope, messages = with_body(scope, readable)
        await self._app(scope, replay(messages, receive), send)

    def _readable(self, body: bytes) -> bytes:
        """The body itself where nothing has to change. What is no JSON is left for vLLM to refuse."""
        suspicious, aliased = _SUSPICIOUS.search(body), _ALIAS in body
        if not suspicious and not aliased:
            return body
        try:
            request = json.loads(body)
        except (ValueError, RecursionError):
            return body
        if suspicious and (field := _lone_surrogate(request)) is not None:
            raise InvalidRequest(f"{field}: holds half of a surrogate pair, which is no character", param=field)
        model = request.get("model") if isinstance(request, dict) else None
        if not isinstance(model, str) or (behind := model_behind(model, self._max_best_of)) == model:
            return body
        return json.dumps({**request, "model": behind}).encode()


def _is_json(scope: Scope) -> bool:
    return Headers(scope=scope).get("content-type", "").lower().startswith("application/json")


def _lone_surrogate(request: Any) -> str | None:
    """The field that holds the first one, or None; where the name of a field holds it, the object that field is in."""
    rest: list[tuple[str, Any]] = [("", request)]
    while rest:
        path, value = rest.pop()
        if isinstance(value, str) and _SURROGATE.search(value):
            return path or "body"
        if isinstance(value, dict):
            if any(map(_SURROGATE.search, value)):
                return path or "body"
            rest.extend((f"{path}.{name}".lstrip("."), item) for name, item in reversed(value.items()))
        elif isinstance(value, list):
            rest.extend((f"{path}.{index}".lstrip("."), item) for index, item in reversed(list(enumerate(value))))
    return None
