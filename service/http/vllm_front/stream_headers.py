"""Headers that keep proxies from holding a stream back."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# nginx, and what follows it, passes on at once what the first of these comes with; nobody keeps an answer's copy.
_HEADERS = {"x-accel-buffering": "no", "cache-control": "no-cache"}


class StreamHeaders:
    """Adds the headers to every server-sent event stream."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start" and is_event_stream(message):
                headers = MutableHeaders(raw=list(message["headers"]))
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                message = {**message, "headers": headers.raw}
            await send(message)

        await self._app(scope, receive, headed)


def is_event_stream(start: Message) -> bool:
    """Whether an answer that begins with this message is a stream of events."""
    return Headers(raw=start.get("headers", [])).get("content-type", "").startswith("text/event-stream")
