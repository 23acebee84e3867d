"""What several layers do with a request: read its body, hand it on, and know its path."""

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Receive, Scope


def path_of(scope: Scope) -> str:
    """Without the prefix under which a proxy shows the server."""
    path: str = scope.get("path", "")
    return path.removeprefix(scope.get("root_path", ""))


async def read_messages(receive: Receive) -> list[Message]:
    """Those of the whole body; the last is `http.disconnect` where the client left before it was complete."""
    messages = [await receive()]
    while messages[-1].get("more_body", False):
        messages.append(await receive())
    return messages


def joined(messages: list[Message]) -> bytes:
    """The body that the messages hold."""
    return b"".join(message.get("body", b"") for message in messages)


def replay(messages: list[Message], receive: Receive) -> Receive:
    """What was read already, then whatever comes."""
    rest = list(messages)

    async def replayed() -> Message:
        return rest.pop(0) if rest else await receive()

    return replayed


def with_body(scope: Scope, body: bytes) -> tuple[Scope, list[Message]]:
    """The request with another body: its scope, which gives the length, and the one message of it."""
    headers = MutableHeaders(raw=list(scope["headers"]))
    headers["content-length"] = str(len(body))
    return {**scope, "headers": headers.raw}, [{"type": "http.request", "body": body, "more_body": False}]
