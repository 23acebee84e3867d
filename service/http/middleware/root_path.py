"""The prefix under which a proxy shows the server."""

from starlette.types import ASGIApp, Receive, Scope, Send


class RootPath:
    """Sets the prefix under which a proxy shows the server (`--root-path`) for every layer below."""

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, "root_path": self._root_path or scope.get("root_path", "")}, receive, send)
