"""What a run needs of the server's room: a place for each of its candidates, while an engine works on it."""

import asyncio
from typing import Protocol


class Place(Protocol):
    """Room for one candidate, or the wait for it."""

    @property
    def granted(self) -> "asyncio.Future[bool]":
        """Done when the place may be used, with True; with False when nobody wants it any more."""


class Places(Protocol):
    """The room of one request."""

    def ask(self) -> Place:
        """A place, in turn."""

    def leave(self, place: Place) -> None:
        """Give a place back, or stop waiting for it. Once for each place that was granted."""
