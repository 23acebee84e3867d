"""The check of `coupling` that needs no list: that every name which our files import from vLLM is there."""

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path


@dataclass(frozen=True)
class FailingImport:
    """A `from module import names`, in a line of a file under the root, and why it fails."""

    file: str
    line: int
    module: str
    names: tuple[str, ...]
    found: str


def failing_imports(root: Path, patterns: Sequence[str]) -> Iterator[FailingImport]:
    """Those from vLLM, in the files under the root that match a pattern."""
    for path in sorted(path for pattern in patterns for path in root.glob(pattern)):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "vllm":
                names = tuple(alias.name for alias in node.names)
                if found := dict.fromkeys(filter(None, (_missing(node.module, name) for name in names))):
                    file = str(path.relative_to(root))
                    yield FailingImport(file, node.lineno, node.module, names, ", ".join(found))


def _missing(module: str, name: str) -> str:
    """Why a name cannot be imported; empty where it can."""
    try:
        if not hasattr(import_module(module), name):
            import_module(f"{module}.{name}")
    except Exception as error:
        return one_line(error)
    return ""


def one_line(error: BaseException) -> str:
    """An error with its type, cut after its first line."""
    return f"{type(error).__name__}: {error}".splitlines()[0]
