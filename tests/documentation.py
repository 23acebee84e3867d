"""What the documentation names, taken out of its Markdown: code blocks, inline code, links and headings."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = tuple(sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]))

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_SHELL = "bash"


@dataclass(frozen=True)
class Named:
    """Something that a page names. language: of a code block; empty for inline code."""

    page: Path
    line: int
    text: str
    language: str = ""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}: {self.text}"


def blocks(page: Path) -> list[Named]:
    """The fenced code blocks."""
    text = page.read_text(encoding="utf-8")
    return [Named(page, _line(text, match.start(2)), match[2], match[1]) for match in _FENCE.finditer(text)]


def spans(page: Path) -> list[Named]:
    """Inline code outside code blocks, each in one line."""
    prose = _prose(page)
    return [Named(page, _line(prose, match.start()), " ".join(match[1].split())) for match in _SPAN.finditer(prose)]


def links(page: Path) -> list[Named]:
    """Targets of links and pictures."""
    prose = _SPAN.sub(lambda match: " " * len(match[0]), _prose(page))
    return [Named(page, _line(prose, match.start()), match[1]) for match in _LINK.finditer(prose)]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    found: set[str] = set()
    for heading in _HEADING.findall(_prose(page)):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.add(slug if slug not in found else f"{slug}-1")
    return found


def shell_commands(page: Path) -> list[tuple[Named, list[str]]]:
    """The commands of a page's shell blocks as words, without comments."""
    return [command for block in blocks(page) if block.language == _SHELL for command in _commands(block)]


def _commands(block: Named) -> Iterator[tuple[Named, list[str]]]:
    """A command ends with its line, unless that ends in a backslash or inside quotes."""
    text, began = "", block.line
    for number, line in enumerate(block.text.splitlines(), start=block.line):
        began = began if text else number
        text += line
        if text.endswith("\\"):
            text = text[:-1] + " "
            continue
        try:
            words = shlex.split(text, comments=True)
        except ValueError:  # a quotation that goes on in the next line
            text += "\n"
            continue
        if words:
            yield Named(block.page, began, text.strip()), words
        text = ""


def _prose(page: Path) -> str:
    """The page with its code blocks blanked out, line for line."""
    text = page.read_text(encoding="utf-8")
    return _FENCE.sub(lambda match: "\n" * match[0].count("\n"), text)


def _line(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1
