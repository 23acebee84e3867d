"""`x-request-id` and `openai-processing-ms` on every answer."""

import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class RequestId:
    """Echoes `x-request-id`, or makes one, and adds `openai-processing-ms`: time until the answer began."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = time.monotonic()
        request_id = Headers(scope=scope).get("x-request-id") or uuid.uuid4().hex
        headers = MutableHeaders(raw=list(scope["headers"]))
        headers["x-request-id"] = request_id

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(raw=list(message.get("headers", [])))
                answer["x-request-id"] = request_id
                answer["openai-processing-ms"] = str(round((time.monotonic() - started_s) * 1000))
                message = {**message, "headers": answer.raw}
            await send(message)

        await self._app({**scope, "headers": headers.raw}, receive, stamped)
