"""The rooms stand on floors: every import goes to the same room or to one below. Imports inside functions count too."""

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("bestofn_server", "service", "reward", "training", "measuring", "loadtests")

# From the ground up; rooms on one floor stand side by side and do not import each other, so that there is no cycle.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("reward",),
    ("service.rerank",),
    ("measuring",),
    ("service.load", "service.records", "service.observe"),
    ("service.page",),
    ("service.http", "service.settings"),
    ("service.vllm",),
    ("training.data",),
    ("training.labs",),
    ("training.policy",),
    ("training.run",),
    ("training.samples",),
    ("training.evaluation",),
    ("training.sft", "training.dpo", "training.reward", "training.ppo"),
    ("training.experiments",),
    ("loadtests",),
    ("bestofn_server",),
)
FLOOR_OF = {room: number for number, floor in enumerate(FLOORS, 1) for room in floor}
# Training runs without a server: all it shares with one are the strategies and selections that it replays.
OF_SERVICE_FOR_TRAINING = "service.rerank"

# Who may import an engine, a web framework or tensors.
WEB = ("service.page", "service.records", "service.http", "service.vllm")
TENSORS = ("reward", "training", "loadtests", "service.vllm")
ENGINE = ("service.vllm", "reward.vllm_scorer", "training.policy.rollout", "loadtests.bench")
ALLOWED = {"starlette": WEB, "fastapi": WEB, "torch": TENSORS, "transformers": TENSORS, "vllm": ENGINE}
# Who has to do without until it is asked for what needs it.
LAZY = {"vllm": ("reward", "training", "loadtests"), "transformers": ("reward.template",)}


@dataclass(frozen=True)
class Import:
    """One import: where it is written, in which module, and of which module."""

    path: Path
    line: int
    module: str
    target: str
    # Whether importing `module` is enough for it to happen: not inside a function, and not for the type checker alone.
    at_once: bool

    def __str__(self) -> str:
        return f"{self.path}:{self.line} imports {self.target}"


def inside(module: str, packages: Sequence[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def room_of(module: str) -> str | None:
    """None for what is in no room, such as the packages `service` and `training` themselves."""
    return next((room for room in FLOOR_OF if inside(module, [room])), None)


def imports_of(text: str, path: Path) -> Iterator[Import]:
    """Every import in the text of a module."""
    module = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
    tree = ast.parse(text)
    lazy = {id(inner) for node in ast.walk(tree) if _waits(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for target in _targets(node):
                yield Import(path, node.lineno, module, target, at_once=id(node) not in lazy)


def _waits(node: ast.AST) -> bool:
    if isinstance(node, ast.If):
        return ast.unparse(node.test) == "TYPE_CHECKING"
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def _targets(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if node.level or node.module is None:
        return ["a relative import"]
    # `from training import labs` names a room only together with what it takes.
    return [f"{node.module}.{alias.name}" for alias in node.names] if node.module in PACKAGES else [node.module]


@cache
def every_import() -> tuple[Import, ...]:
    files = sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return tuple(found for path in files for found in imports_of((ROOT / path).read_text(encoding="utf-8"), path))


def wrong_way(found: Import) -> str | None:
    """What is wrong with an import of one of our own modules."""
    if inside(found.target, ["tests", "scripts", "a relative import"]):
        return f"{found}, which no room may"
    if not inside(found.target, PACKAGES):
        return None
    here, there = room_of(found.module), room_of(found.target)
    if here is None or there is None:
        return f"{found} ({found.target if here else found.module} stands on no floor)"
    if here != there and FLOOR_OF[here] <= FLOOR_OF[there]:
        return f"{found} (floor {FLOOR_OF[here]} -> floor {FLOOR_OF[there]})"
    if inside(here, ["training"]) and inside(there, ["service"]) and there != OF_SERVICE_FOR_TRAINING:
        return f"{found} (training may import {OF_SERVICE_FOR_TRAINING} alone of service)"
    return None


def out_of_reach(found: Import) -> str | None:
    """What is wrong with an import of an engine, a web framework or tensors."""
    name = found.target.partition(".")[0]
    if found.at_once and inside(found.module, LAZY.get(name, ())):
        return f"{found} at once, not where it is needed"
    if inside(found.module, ALLOWED.get(name, PACKAGES)):
        return None
    return f"{found}, which only {', '.join(ALLOWED[name])} may"


def test_every_import_goes_to_the_same_room_or_down() -> None:
    wrong = [line for found in every_import() if (line := wrong_way(found))]
    assert not wrong, "\n" + "\n".join(wrong)


def test_engines_web_frameworks_and_tensors_stay_where_they_belong() -> None:
    wrong = [line for found in every_import() if (line := out_of_reach(found))]
    assert not wrong, "\n" + "\n".join(wrong)


def test_every_room_is_there() -> None:
    assert not [room for room in FLOOR_OF if importlib.util.find_spec(room) is None]


def test_no_folder_of_code_holds_more_than_15_files() -> None:
    folders = {path.parent for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    counts = {str(folder.relative_to(ROOT)): len(list(folder.glob("*.py"))) for folder in folders}
    assert not {folder: count for folder, count in counts.items() if count > 15}


@pytest.mark.parametrize(
    ("path", "text", "what"),
    [
        ("reward/a.py", "import training.labs", "training.labs (floor 1 -> floor 9)"),
        ("service/http/a.py", "def f():\n    from training import labs", "training.labs (floor 6 -> floor 9)"),
        ("training/data/a.py", "if TYPE_CHECKING:\n    import training.run", "training.run (floor 8 -> floor 11)"),
        ("training/sft/a.py", "from training.dpo.b import c", "training.dpo.b (floor 14 -> floor 14)"),
        ("training/run/a.py", "from service.http import app", "(training may import service.rerank alone of service)"),
        ("training/b/a.py", "import reward.model", "(training.b.a stands on no floor)"),
        ("training/data/a.py", "import training.b", "(training.b stands on no floor)"),
        ("reward/a.py", "from tests.server import Server", "tests.server, which no room may"),
        ("reward/a.py", "from .model import load", "imports a relative import, which no room may"),
    ],
)
def test_a_wrong_import_is_named(path: str, text: str, what: str) -> None:
    (found,) = imports_of(text, Path(path))
    line = wrong_way(found)
    assert line is not None
    assert line.startswith(f"{path}:{len(text.splitlines())} imports ")
    assert line.endswith(what)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("bestofn_server/a.py", "from service.vllm.server import main"),
        ("training/run/a.py", "from service.rerank.errors import ServiceError"),
        ("training/experiments/a.py", "from training.sft.trainer import train"),
        ("service/vllm/__init__.py", "import service.settings"),
        ("training/labs/__init__.py", "from training.labs.lab import Lab"),
    ],
)
def test_a_right_import_passes(path: str, text: str) -> None:
    (found,) = imports_of(text, Path(path))
    assert wrong_way(found) is None


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("service/rerank/a.py", "def f():\n    import torch"),
        ("service/rerank/a.py", "from starlette.types import Send"),
        ("training/run/a.py", "def f():\n    import vllm"),
        ("reward/vllm_scorer.py", "from vllm import LLM"),
        ("reward/template.py", "import transformers"),
        ("measuring/a.py", "import torch.nn"),
    ],
)
def test_what_is_out_of_reach_is_named(path: str, text: str) -> None:
    (found,) = imports_of(text, Path(path))
    assert out_of_reach(found)


def imported_with(*packages: str) -> set[str]:
    """The top-level packages that a process has imported with every module of some packages of ours."""
    source = (
        "import importlib, pkgutil, sys\n"
        "for name in sys.argv[1:]:\n"
        "    package = importlib.import_module(name)\n"
        "    for module in pkgutil.walk_packages(package.__path__, name + '.'):\n"
        "        importlib.import_module(module.name)\n"
        "print(*{name.partition('.')[0] for name in sys.modules})\n"
    )
    command = [sys.executable, "-c", source, *packages]
    return set(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split())


def test_the_kernel_runs_without_engine_web_framework_and_tensors() -> None:
    found = imported_with("service.rerank")
    assert not found & {"torch", "vllm", "starlette", "fastapi", "transformers", "openai", "httpx2"}
    assert "pydantic" in found


def test_reward_and_training_run_without_engine_and_web_framework() -> None:
    found = imported_with("reward", "training")
    assert not found & {"vllm", "fastapi", "starlette", "uvicorn"}
    assert "torch" in found
