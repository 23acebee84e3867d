"""The tests mirror the code: `service/rerank/plan.py` is tested by `tests/service/rerank/test_plan.py`, and so on."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("bestofn_server", "service", "reward", "training", "measuring", "loadtests")

# Modules without a test of their own, and where they are tested instead; a folder stands for all that is in it.
_FORMAT = "a row of every format goes through tests/training/data/formats/test_formats.py"
_COUPLINGS = "the checks of service/vllm/coupling.py: tests/service/vllm/test_coupling.py breaks each of them"
_EVALUATION = "written and drawn from end to end in tests/bestofn_server/commands/test_evaluate.py"
ELSEWHERE: dict[str, str] = {
    "loadtests/bench/peers/its_hub_server.py": "runs in the environment of another project, which is not here",
    "service/vllm/coupling_checks/engine.py": _COUPLINGS,
    "service/vllm/coupling_checks/http.py": _COUPLINGS,
    "training/data/formats/checks.py": _FORMAT,
    "training/data/formats/demonstrations.py": _FORMAT,
    "training/data/formats/native.py": _FORMAT,
    "training/data/formats/pairs.py": _FORMAT,
    "training/data/formats/ratings.py": _FORMAT,
    "training/evaluation/plots.py": _EVALUATION,
    "training/evaluation/report.py": _EVALUATION,
    "training/evaluation/reward_model.py": "tests/training/evaluation/test_offline.py asks it for both of its reports",
    "training/experiments/compare/report.py": "compare/test_run.py reads the page of a real run",
    "training/experiments/replay/report.py": "commands/test_replay.py reads its table and its JSON",
    "training/experiments/studies/measured.py": "studies/test_over_optimisation.py runs on it",
}


def has_code(text: str) -> bool:
    """Whether a function of the module does anything: protocols, values and dataclasses alone need no test."""
    tree = ast.parse(text)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return any(not _is_text(statement) for function in functions for statement in function.body)


def _is_text(statement: ast.stmt) -> bool:
    """A docstring, or `...`."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def modules() -> list[Path]:
    """Every module of code, as a path under the root; a package's own face and its command-line door are none."""
    return sorted(
        path.relative_to(ROOT)
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if path.name not in {"__init__.py", "__main__.py"} and has_code(path.read_text(encoding="utf-8"))
    )


def own_test(module: Path) -> Path:
    return Path("tests") / module.with_name(f"test_{module.name}")


def is_elsewhere(module: Path) -> bool:
    return any(module.is_relative_to(path) for path in ELSEWHERE)


def test_every_module_of_code_has_its_test() -> None:
    missing = [module for module in modules() if not (ROOT / own_test(module)).is_file() and not is_elsewhere(module)]
    assert not missing, "\n" + "\n".join(f"{module}: there is no {own_test(module)}" for module in missing)


@pytest.mark.parametrize("path", ELSEWHERE)
def test_an_exception_is_one(path: str) -> None:
    """It names something that is there and has no test of its own, and says why."""
    of_it = [module for module in modules() if module.is_relative_to(path)]
    assert of_it
    assert not [str(own_test(module)) for module in of_it if (ROOT / own_test(module)).is_file()]
    assert len(ELSEWHERE[path]) > 20


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("LIMIT = 3\nclass A:\n    size: int", False),
        ('class P(Protocol):\n    def f(self) -> int:\n        """What it does."""\n        ...', False),
        ("def f():\n    return 1", True),
        ("class A:\n    async def f(self):\n        'What.'\n        await g()", True),
    ],
)
def test_code_is_what_does_something(text: str, code: bool) -> None:
    assert has_code(text) is code
