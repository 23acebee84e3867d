"""The page at `/`: files of `static`, sent as they are, with headers that keep the page to this server.

Everything the page shows comes from the server's public endpoints; the page itself holds nothing that needs a key.
"""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_FILES = Path(__file__).with_name("static")
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "cache-control": "no-cache",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def page_routes() -> list[BaseRoute]:
    """`/` and the files below `/page/`; both work under any root path, since the page's own links are relative."""

    async def index(_: Request) -> Response:
        return FileResponse(_FILES / "index.html", headers=_HEADERS)

    return [Route("/", index), Mount("/page", _WithHeaders(StaticFiles(directory=_FILES)))]


class _WithHeaders:
    """Adds the page's headers to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                ours = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", []), *ours]}
            await send(message)

        await self._app(scope, receive, headed)
