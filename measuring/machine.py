"""What a number was measured with: the processor and the installed versions, for model cards and records."""

import platform
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def versions(packages: Sequence[str]) -> str:
    """Of Python and of those `packages` that are installed, in one line."""
    found = []
    for name in packages:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join([f"Python {platform.python_version()}", *found])


def processor() -> str:
    """The processor's name, which Linux keeps in a file and other systems give."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def this_command() -> str:
    """Of this process, as it was typed."""
    return shlex.join(["bestofn", *sys.argv[1:]])
