"""The answer in a text, by which a vote groups candidates; None where there is none. Linear in the text's length."""

import re
from collections.abc import Callable, Mapping
from typing import Literal

Answer = Literal["boxed", "last_number", "last_line", "exact"]

_BRACES = re.compile(r"\\boxed\s*\{|\\.|[{}]", re.DOTALL)
_NUMBER = re.compile(r"(?:(?<![\w)\]])-)?[0-9]+(?:,[0-9]{3}(?![0-9]))*(?:\.[0-9]+)?")


def extract(text: str, answer: Answer) -> str | None:
    """What `text` answers; two texts that say the same in another form (137, 137.0) may give the same."""
    return _EXTRACTORS[answer](text) or None


def boxed(text: str) -> str | None:
    r"""The content of the \boxed{...} that closes last; braces may nest, and \{ is no brace."""
    found, opened = None, list[int | None]()
    for token in _BRACES.finditer(text):
        if token[0].startswith("\\boxed"):
            opened.append(token.end())
        elif token[0] == "{":
            opened.append(None)
        elif token[0] == "}" and opened and (start := opened.pop()) is not None:
            found = text[start : token.start()]
    return None if found is None else _squeezed(found)


def last_number(text: str) -> str | None:
    """The last decimal number, without thousands separators or zeros that say nothing: 1,234.50 is 1234.5."""
    numbers = _NUMBER.findall(text.replace("\N{MINUS SIGN}", "-"))
    if not numbers:
        return None
    whole, _, part = numbers[-1].replace(",", "").partition(".")
    sign, digits, part = "-" * whole.startswith("-"), whole.lstrip("-").lstrip("0") or "0", part.rstrip("0")
    value = f"{digits}.{part}" if part else digits
    return value if value == "0" else sign + value


def last_line(text: str) -> str | None:
    """The last line that is not blank."""
    return _squeezed(text.strip().rpartition("\n")[2])


def exact(text: str) -> str | None:
    """The whole text, without the white space around it."""
    return text.strip()


def _squeezed(text: str) -> str:
    return " ".join(text.split())


_EXTRACTORS: Mapping[Answer, Callable[[str], str | None]] = {
    "boxed": boxed,
    "last_number": last_number,
    "last_line": last_line,
    "exact": exact,
}
