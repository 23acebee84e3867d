"""Brings the programs that the tests and `make observe` use beside Python: Prometheus with promtool, and Chromium.

    python3.11 scripts/tools.py [prometheus] [chromium]

What is on the PATH is used. Else Prometheus comes out of Debian's (or Ubuntu's) packages into `.tools`, without root
and without the daemon that installing them would start; Chromium, which needs a hundred libraries, is installed.
Needs only Python itself.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

TOOLS = Path(__file__).resolve().parent.parent / ".tools"
# The browser calls itself differently from distribution to distribution.
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


class Missing(Exception):
    """A program that is not here and could not be brought; the message explains what to do."""


@dataclass(frozen=True)
class Prometheus:
    """Where Prometheus and its tool are."""

    server: str
    promtool: str
    options: Sequence[str] = ()  # what makes `server` find its own pages where it does not lie in /usr


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="which of them (default: all): prometheus, chromium")
    bring: dict[str, Callable[[], str]] = {
        "prometheus": lambda: bring_prometheus(TOOLS).server,
        "chromium": bring_chromium,
    }
    names = parser.parse_args().names or list(bring)
    if unknown := [name for name in names if name not in bring]:
        parser.error(f"{unknown[0]} is not one of {', '.join(bring)}")
    failed = False
    for name in names:
        try:
            print(f"{name}: {bring[name]()}")
        except Missing as missing:
            print(f"{name} is missing: {missing}", file=sys.stderr)
            failed = True
    sys.exit(failed)


def find_prometheus(folder: Path = TOOLS) -> Prometheus | None:
    """The one on the PATH, else the one that was brought into `folder`, else None."""
    server, promtool = shutil.which("prometheus"), shutil.which("promtool")
    if server and promtool:
        return Prometheus(server, promtool)
    brought, pages = folder / "usr/bin", folder / "usr/share/prometheus/web"
    if not (brought / "promtool").exists():
        return None
    return Prometheus(str(brought / "prometheus"), str(brought / "promtool"), [f"--web.local-assets={pages}"])


def bring_prometheus(folder: Path) -> Prometheus:
    """Unpack Debian's packages into `folder`, unless Prometheus is here already.

    Raises:
        Missing: this is no Debian, or its packages cannot be had.
    """
    if (found := find_prometheus(folder)) is not None:
        return found
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise Missing(f"put prometheus and promtool on the PATH (there is no {program} here to bring them with)")
    packages = folder / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as half:  # so that what lies in `folder` is whole
        for name in ["prometheus", *_page_packages()]:
            if not list(packages.glob(f"{name}_*.deb")):
                _download(name, packages)
            newest = max(packages.glob(f"{name}_*.deb"), key=lambda package: package.stat().st_mtime)
            _run(["dpkg-deb", "--extract", str(newest), half])
        (Path(half) / "usr").rename(folder / "usr")
    brought = find_prometheus(folder)
    assert brought is not None
    return brought


def find_chromium() -> str | None:
    """Path of the one on the PATH, by any of its names."""
    return next((path for name in CHROMIUM if (path := shutil.which(name))), None)


def bring_chromium() -> str:
    """Path of a Chromium, which is installed where there is none.

    Raises:
        Missing: it is not here, and this user may not install it.
    """
    if (found := find_chromium()) is not None:
        return found
    become_root = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
    for program in ["apt-get", *become_root[:1]]:
        if shutil.which(program) is None:
            raise Missing(f"install Chromium (there is no {program} here to do it with)")
    _run([*become_root, "apt-get", "install", "--yes", "--no-install-recommends", "chromium"])
    found = find_chromium()
    if found is None:
        raise Missing("apt-get installed it, but none of " + ", ".join(CHROMIUM) + " is on the PATH")
    return found


def _page_packages() -> list[str]:
    """The packages with the scripts and fonts of Prometheus' own pages."""
    listed = _run(["apt-cache", "depends", "--important", "--recurse", "prometheus"]).splitlines()
    return [name for name in listed if name.startswith(("libjs-", "fonts-"))]


def _download(name: str, into: Path) -> None:
    # As root, apt would rather download as a user that cannot write here, and complain.
    _run(["apt-get", "--quiet", "--option", "APT::Sandbox::User=root", "download", name], folder=into)


def _run(command: Sequence[str], folder: Path | None = None) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[-1]
        raise Missing(f"`{' '.join(command)}` failed: {reason} (an old package list? apt-get update)")
    return done.stdout


if __name__ == "__main__":
    main()
