"""Bringing Prometheus and Chromium: what is here is used, and what cannot be brought is said."""

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.tools import (
    CHROMIUM,
    Missing,
    Prometheus,
    bring_chromium,
    bring_prometheus,
    find_chromium,
    find_prometheus,
)

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/tools.py"


def program(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o755)
    return str(path)


def test_what_is_on_the_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    brought = [program(tmp_path / "tools/usr/bin" / name) for name in ("prometheus", "promtool")]
    pages = f"--web.local-assets={tmp_path}/tools/usr/share/prometheus/web"
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert bring_prometheus(tmp_path / "tools") == Prometheus(brought[0], brought[1], [pages])

    installed = [program(tmp_path / "bin" / name) for name in ("prometheus", "promtool")]
    assert bring_prometheus(tmp_path / "tools") == Prometheus(installed[0], installed[1])


@pytest.mark.parametrize("name", CHROMIUM)
def test_chromium_is_found_by_any_of_its_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_chromium() is None
    installed = program(tmp_path / name)
    assert find_chromium() == bring_chromium() == installed


def test_without_apt_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_prometheus(tmp_path) is None
    with pytest.raises(Missing, match="put prometheus and promtool on the PATH"):
        bring_prometheus(tmp_path)
    with pytest.raises(Missing, match="install Chromium"):
        bring_chromium()


def test_the_command_fails_for_what_it_does_not_know() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "grafana"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "grafana is not one of prometheus, chromium" in done.stderr
