"""What was meant by a name that is unknown: the nearest of those there are, for the message that refuses it."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`, did you mean 'x'?` with the nearest name, or `;` where none is near: what follows lists those there are."""
    near = get_close_matches(name, list(known), n=1)
    return f", did you mean {near[0]!r}?" if near else ";"
