"""The command line as a whole: its help, its version, and that asking for them costs little."""

import subprocess
import sys
from importlib.metadata import version
from types import SimpleNamespace

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from bestofn_server.cli import app
from bestofn_server.commands.serve import bundled

COMMANDS = ("serve", "train", "evaluate", "collect", "label", "study", "sweep", "compare", "replay")


def test_the_version_is_the_distributions() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.output) == (0, f"bestofn {version('bestofn-server')}\n")


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_lists_every_command(option: str) -> None:
    done = CliRunner().invoke(app, [option], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    assert all(f" {name} " in done.output for name in COMMANDS)
    assert set(get_command(app).commands) == set(COMMANDS)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "command", [*([name] for name in COMMANDS if name != "serve"), ["train", "ppo"], ["evaluate", "server"]]
)
def test_every_command_has_short_help_too(command: list[str]) -> None:
    done = CliRunner().invoke(app, [*command, "-h"])
    assert done.exit_code == 0
    assert f"Usage: bestofn {' '.join(command)} " in done.output


def test_what_follows_serve_is_the_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []
    server = SimpleNamespace(main=lambda *arguments: given.extend(arguments))
    monkeypatch.setitem(sys.modules, "service.vllm.server", server)
    options = ["MODEL", "--help=bestofn", "-h", "--best-of", "4"]
    done = CliRunner().invoke(app, ["serve", *options])
    assert (done.exit_code, given) == (0, [options, bundled()])


@pytest.mark.parametrize(
    "command",
    [
        *(["--help"], ["-h"], ["train", "--help"], ["study", "selection", "-h"], ["compare", "-h"], ["sweep", "-h"]),
        *(["serve", "-h"], ["serve", "--help"], ["serve", "--help=bestofn"]),
    ],
)
def test_help_imports_nothing_that_only_a_command_needs(command: list[str]) -> None:
    source = (
        "import sys\nfrom bestofn_server.cli import app\n"
        f"try:\n    app({command})\nfinally:\n    print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", source], check=True, capture_output=True, text=True)
    assert "usage:" in done.stdout.lower()
    heavy = {"torch", "transformers", "vllm", "numpy", "pandas", "openai", "httpx2", "fastapi"}
    if len(command) == 1:  # typer itself reads a command's arguments by pydantic
        heavy |= {"pydantic", "asyncio"}
    if command[0] == "serve":  # a setting is declared by what reads it
        heavy -= {"numpy"}
    assert not heavy & {name.partition(".")[0] for name in done.stderr.split()}


@pytest.mark.parametrize(
    ("command", "meant"),
    [
        (["colect"], "Did you mean 'collect'?"),
        (["train", "stf"], "Did you mean 'sft'?"),
        (["evaluate", "sever"], "Did you mean 'server'?"),
        (["study", "selecton"], "Did you mean 'selection'?"),
        (["collect", "--outptu", "x"], "Possible options: --output)"),
        (["train", "sft", "--recpie", "x"], "Possible options: --recipe)"),
        (["sweep", "--client", "1"], "Possible options: --clients)"),
        (["--versoin"], "Possible options: --version)"),
    ],
)
def test_what_was_meant_is_offered_for_an_unknown_command_or_option(command: list[str], meant: str) -> None:
    done = CliRunner().invoke(app, command, env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert meant in done.output
