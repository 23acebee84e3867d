"""A request's body, read and handed on."""

from starlette.types import Message

from service.http.body import joined, path_of, read_messages, replay, with_body

FIRST: Message = {"type": "http.request", "body": b"one ", "more_body": True}
LAST: Message = {"type": "http.request", "body": b"two"}
LEFT: Message = {"type": "http.disconnect"}


class Client:
    """Sends so many messages, and leaves after the last."""

    def __init__(self, *messages: Message) -> None:
        self._messages = list(messages)

    async def __call__(self) -> Message:
        return self._messages.pop(0) if self._messages else LEFT


async def test_the_whole_body_is_read_and_nothing_behind_it() -> None:
    client = Client(FIRST, LAST, FIRST)
    assert joined(await read_messages(client)) == b"one two"
    assert await client() == FIRST


async def test_a_client_that_leaves_amid_its_body_is_the_last_message() -> None:
    assert await read_messages(Client(FIRST)) == [FIRST, LEFT]


async def test_what_was_read_is_handed_on_before_what_comes() -> None:
    messages = [FIRST, LAST]
    again = replay(messages, Client())
    assert [await again() for _ in range(4)] == [FIRST, LAST, LEFT, LEFT]
    assert messages == [FIRST, LAST]


def test_another_body_has_its_own_length() -> None:
    scope, messages = with_body({"headers": [(b"content-length", b"9"), (b"accept", b"*/*")], "path": "/"}, b"{}")
    assert (dict(scope["headers"]), scope["path"]) == ({b"content-length": b"2", b"accept": b"*/*"}, "/")
    assert messages == [{"type": "http.request", "body": b"{}", "more_body": False}]


def test_a_path_is_known_without_its_prefix() -> None:
    assert path_of({"path": "/api/ready", "root_path": "/api"}) == path_of({"path": "/ready"}) == "/ready"
