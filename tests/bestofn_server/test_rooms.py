"""Scripts beside files that have the names of our rooms, each in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bestofn_server.rooms import ROOMS

ROOT = Path(__file__).resolve().parents[2]
PUBLIC = "from bestofn_server import kl_bound_nats, best_of_n\nprint(kl_bound_nats(1))\n"


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python with these arguments in that folder, which comes before our own on its path."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def script(folder: Path, text: str, *shadows: str) -> subprocess.CompletedProcess[str]:
    """What a script does beside files of those names."""
    for name in shadows:
        (folder / f"{name}.py").write_text("def my_reward(): return 7\n", encoding="utf-8")
    (folder / "script.py").write_text(text, encoding="utf-8")
    return python(folder, "script.py")


def test_without_us_a_file_hides_a_room(tmp_path: Path) -> None:
    """What this is all about; once it fails, `bestofn_server.rooms` is not needed any more."""
    assert "'reward' is not a package" in script(tmp_path, "import reward.bounds", "reward").stderr


def test_public_names_beside_files_of_all_those_names(tmp_path: Path) -> None:
    done = script(tmp_path, PUBLIC, *ROOMS)
    assert (done.returncode, done.stdout) == (0, "0.0\n"), done.stderr


@pytest.mark.parametrize("arguments", [["--version"], ["train", "--help"], ["evaluate", "server", "--lab", "none"]])
def test_the_command_beside_files_of_all_those_names(tmp_path: Path, arguments: list[str]) -> None:
    script(tmp_path, "", *ROOMS)
    done = python(tmp_path, "-m", "bestofn_server", *arguments)
    assert "is not a package" not in done.stderr
    assert done.returncode == (2 if "none" in arguments else 0), done.stderr


def test_afterwards_the_name_is_ours(tmp_path: Path) -> None:
    done = script(tmp_path, "import bestofn_server\nfrom reward import my_reward", "reward")
    assert "cannot import name 'my_reward' from 'reward'" in done.stderr
    assert str(ROOT / "reward") in done.stderr


def test_a_module_that_came_first_is_named(tmp_path: Path) -> None:
    done = script(tmp_path, "from reward import my_reward\nprint(my_reward())\nimport bestofn_server", "reward")
    assert done.stdout == "7\n"
    last = done.stderr.splitlines()[-1]
    assert last == (
        "ImportError: bestofn_server cannot be imported: its package 'reward' has the name of "
        f"{tmp_path.resolve() / 'reward.py'}, which is imported already; rename that one"
    )


def test_a_package_that_came_first_is_named(tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "__init__.py").touch()
    done = script(tmp_path, "import training, bestofn_server")
    assert f"'training' has the name of {tmp_path.resolve() / 'training'}, which" in done.stderr


def test_our_own_room_may_come_first(tmp_path: Path) -> None:
    done = script(tmp_path, f"import reward.bounds\n{PUBLIC}")
    assert done.stdout == "0.0\n", done.stderr


def test_nothing_heavy_is_imported_with_us(tmp_path: Path) -> None:
    done = script(tmp_path, "import sys, bestofn_server\nprint(*sys.modules)")
    heavy = {"torch", "numpy", "transformers", "typer", "asyncio", *ROOMS}
    assert not heavy & {name.partition(".")[0] for name in done.stdout.split()}
