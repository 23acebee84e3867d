"""Whether what the documentation names is there: each check raises Unknown for what is not."""

import ast
import importlib
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer
from prometheus_client import CollectorRegistry

from bestofn_server.cli import app
from service.observe.metrics import CostCounter, Metrics
from service.rerank.errors import InvalidRequest
from service.rerank.options import RerankOptions, read_options
from service.rerank.selection import Selection
from service.settings import Settings
from tests.documentation import PAGES, ROOT, Named, blocks

ROOMS = ("bestofn_server", "service", "reward", "measuring", "training", "loadtests", "tests", "scripts")
_FOLDERS = (*ROOMS, "docs", "requirements", ".ci")
_PATH = re.compile(rf"(?:{'|'.join(map(re.escape, _FOLDERS))})(?:/[\w.-]+)*/?")
_FILE = re.compile(r"[\w-]+\.(?:py|yaml|yml|toml|md|lock)")
_DOTTED = re.compile(rf"(?:{'|'.join(ROOMS)})(?:\.\w+)+")
_PYTHON = re.compile(r"(?:.*/)?python(?:3\.\d+)?")
_REQUEST = {"best_of", "n", "model", "messages", "stream", "seed", "rerank"}
_OPENAI = {"message", "role", "content", "usage", "prompt_tokens", "completion_tokens", "total_tokens"}


class Unknown(ValueError):
    """A page names something that is not there."""


# -- commands


def check_command(words: Sequence[str]) -> None:
    """A command line of a code block: its program, its options, its files."""
    for word in words:
        check_path(word)
    match words:
        case ["bestofn", "serve", *rest]:
            _check_options(rest, serve_options(), "bestofn serve")
        case ["bestofn", *rest]:
            _check_parsed(rest)
        case ["make", *rest]:
            _check_make(rest)
        case [python, "-m", module, *rest] if _PYTHON.fullmatch(python):
            _check_module(module, rest)
        case ["locust", *rest]:
            _check_options(rest, locust_options(), "locust")
        case ["accelerate", "launch", "--config_file", _, *rest] if "-m" in rest:
            check_command(["python", *rest[rest.index("-m") :]])
        case ["pip", "install", *requirements]:
            _check_requirements(requirements)
        case ["curl", *rest]:
            if "-d" in rest:
                check_request(json.loads(rest[rest.index("-d") + 1]))
        case ["docker", "compose", *_] | [".", _] | ["git", *_] | ["cd", _]:
            pass
        case _:
            raise Unknown(f"no program of ours: {words[0]}")


def check_mention(text: str) -> None:
    """A command named in running text, which may leave out what it needs: its name and its options."""
    words = shlex.split(text.replace("...", ""))
    match words:
        case ["bestofn", "serve", *rest]:
            _check_options(rest, serve_options(), "bestofn serve")
        case ["bestofn", *rest]:
            for alternative in _alternatives(rest):
                command, arguments, name = _walk(alternative)
                _check_options(arguments, _options(command), name)
        case ["make", *_]:
            check_command(words)
        case [python, "-m", module, *rest] if _PYTHON.fullmatch(python):
            _check_module(module, rest)


def check_option(text: str) -> None:
    """`--option` alone: of any command of ours."""
    known = {*serve_options(), *locust_options(), *_every_option(typer.main.get_command(app))}
    _check_options(text.split()[:1], known, "any command")


@cache
def serve_options() -> frozenset[str]:
    """Ours, and vLLM's where it is installed."""
    ours = {f"--{name.replace('_', '-')}" for name in Settings.model_fields} | {"--help"}
    if find_spec("vllm") is None:
        return frozenset(ours)
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    return frozenset(ours | set(make_arg_parser(FlexibleArgumentParser())._option_string_actions))


@cache
def locust_options() -> frozenset[str]:
    """In a process of its own: locust patches sockets and threads as soon as it is imported."""
    source = (
        "import loadtests.locustfile, locust.argument_parser as parsers\n"
        "print(*parsers.get_parser()._option_string_actions)"
    )
    command = [sys.executable, "-c", source]
    return frozenset(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split())


def _check_options(words: Iterable[str], known: Iterable[str], name: str) -> None:
    unknown = [word for word in words if re.match(r"--?[a-zA-Z]", word) and word.split("=")[0] not in known]
    if unknown:
        raise Unknown(f"{name} has no {', '.join(unknown)}")


def _check_parsed(words: Sequence[str]) -> None:
    """As the command line itself reads it, though it is not run; with its recipe and the settings that are changed."""
    command, arguments, name = _walk(words)
    _check_options(arguments, _options(command), name)
    if "--help" not in arguments:
        try:
            context = command.make_context(name, list(arguments))
        except Exception as error:
            raise Unknown(f"{name}: {error}") from error
        check_settings(name, [text.split("=")[0] for text in context.params.get("overrides") or ()])
        _check_recipe(context.params.get("recipe"))


def _walk(words: Sequence[str]) -> tuple[Any, list[str], str]:
    """(the command that is named, its arguments, its name)."""
    command, name, rest = typer.main.get_command(app), "bestofn", list(words)
    while rest and hasattr(command, "commands"):
        if rest[0].startswith("-"):
            break
        if rest[0] not in command.commands:
            raise Unknown(f"{name} has no command {rest[0]}")
        name += f" {rest[0]}"
        command = command.commands[rest.pop(0)]
    return command, rest, name


def _alternatives(words: Sequence[str]) -> list[list[str]]:
    """`train sft|dpo` is two commands."""
    found: list[list[str]] = [[]]
    for word in words:
        found = [[*before, one] for before in found for one in word.split("|")]
    return found


def _options(command: Any) -> set[str]:
    return {"--help", *(option for parameter in command.params for option in parameter.opts)}


def _every_option(command: Any) -> set[str]:
    below = (_every_option(one) for one in getattr(command, "commands", {}).values())
    return _options(command).union(*below)


def check_settings(name: str, keys: Iterable[str]) -> None:
    """Keys of a recipe, or of `--set`, for the command of that name. Its help lists them all."""
    command, _, _ = _walk(name.split()[1:])
    known = set(re.findall(r"^(\w+)(?: =| \()", command.epilog or "", re.MULTILINE))
    unknown = {key.split(".")[0] for key in keys} - known
    if unknown:
        raise Unknown(f"{name} has no setting {', '.join(sorted(unknown))}")


def _check_recipe(recipe: str | None) -> None:
    written = [block.text.split(",")[0].removeprefix("# ") for page in PAGES for block in blocks(page)]
    known = [path.stem for path in (ROOT / "training" / "recipes").glob("*.yaml")]
    if recipe is not None and recipe not in (*known, *written):
        raise Unknown(f"there is no recipe {recipe}")


def _check_make(words: Sequence[str]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    variables = dict(word.split("=", 1) for word in words if "=" in word)
    if unknown := [name for name in variables if not re.search(rf"^{name} \?=", makefile, re.MULTILINE)]:
        raise Unknown(f"the Makefile reads no {', '.join(unknown)}")
    for verb in (word for word in words if "=" not in word):
        recipe = re.search(rf"^{re.escape(verb)}:.*\n((?:\t.*\n)*)", makefile, re.MULTILINE)
        if recipe is None:
            raise Unknown(f"make has no {verb}")
        if "ARGS" in variables:
            _check_arguments(verb, recipe[1], variables["ARGS"])


def _check_arguments(verb: str, recipe: str, arguments: str) -> None:
    lines = [line for line in recipe.splitlines() if "$(ARGS)" in line]
    if not lines:
        raise Unknown(f"make {verb} reads no ARGS")
    for line in lines:
        command = line.strip().removeprefix("@").replace(".venv/bin/", "").replace("$(PYTHON)", "python")
        check_command(shlex.split(command.replace("$(ARGS)", arguments)))


def _check_module(module: str, words: Sequence[str]) -> None:
    if module == "bestofn_server":
        check_command(["bestofn", *words])
        return
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        raise Unknown(f"there is no module {module}")
    if module.split(".", maxsplit=1)[0] in ROOMS:
        source = Path(spec.origin).read_text(encoding="utf-8")
        _check_options(words, re.findall(r'"(--[\w-]+)"', source), f"python -m {module}")


def _check_requirements(words: Sequence[str]) -> None:
    """Nothing is installed by name: the name `bestofn` is another project's, and ours is not published."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for word in words:
        found = re.fullmatch(r"\.(?:\[(\w[\w,-]*)\])?", word)
        if found is None:
            raise Unknown(f"pip would install {word} from elsewhere")
        if unknown := set((found[1] or "").split(",")) - {"", *project["optional-dependencies"]}:
            raise Unknown(f"there is no extra {', '.join(unknown)}")


# -- requests and answers


def check_request(body: Any) -> None:
    """A request's body, or a part of it."""
    if unknown := body.keys() - _REQUEST:
        raise Unknown(f"no field of a request: {', '.join(unknown)}")
    if not isinstance(body.get("best_of", 1), int):
        raise Unknown("best_of is a number")
    try:
        read_options(body.get("rerank"), "best_of_n")
    except InvalidRequest as error:
        raise Unknown(str(error)) from error


def check_fragment(text: str) -> None:
    """`"key": value, ...` of a request, of its `rerank` object, or of an answer."""
    fragment = json.loads("{" + text.removeprefix("{").removesuffix("}") + "}")
    if fragment.keys() <= _REQUEST:
        check_request(fragment)
    elif fragment.keys() <= set(RerankOptions.keys()):
        check_request({"rerank": fragment})
    elif fragment.keys() <= set(Selection.keys()):
        check_request({"rerank": {"selection": fragment}})
    else:
        check_answer(text)


def check_answer(text: str) -> None:
    """An answer as it is shown, which may be cut: its keys."""
    if unknown := set(re.findall(r'"(\w+)":', text)) - answer_keys() - _OPENAI:
        raise Unknown(f"no key of an answer: {', '.join(unknown)}")


def check_rerank_key(text: str) -> None:
    """`rerank.key`, of a request or an answer."""
    for key in text.split(":", maxsplit=1)[0].split(".")[1:]:
        if key not in {*RerankOptions.keys(), *answer_keys()}:
            raise Unknown(f"rerank has no {key}")


@cache
def answer_keys() -> frozenset[str]:
    """Every key that the code of the server writes into an object."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "service").rglob("*.py")]
    keys: set[str] = set()
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Dict):
            keys |= {key.value for key in node.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            keys |= {node.slice.value} if isinstance(node.slice.value, str) else set()
    return frozenset(keys | {"utility", "weight"})  # these two are taken from a list


# -- names


def check_path(word: str) -> None:
    """A path below a folder of this repository, or the name of one of its files."""
    if _PATH.fullmatch(word) and "/" in word and not (ROOT / word).exists():
        raise Unknown(f"there is no {word}")


def check_file(name: str) -> None:
    """The name of a file, anywhere in the repository."""
    if name not in _file_names():
        raise Unknown(f"there is no file {name}")


@cache
def _file_names() -> frozenset[str]:
    inside = (path.name for folder in _FOLDERS for path in (ROOT / folder).rglob("*"))
    return frozenset([*(path.name for path in ROOT.iterdir()), *inside])


def check_dotted(text: str) -> None:
    """`package.module`, `package.module.name`."""
    parts = text.split(".")
    for end in range(len(parts), 0, -1):
        module = ".".join(parts[:end])
        try:
            found: Any = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not module.startswith(error.name):
                raise
            continue
        for name in parts[end:]:
            if not hasattr(found, name):
                raise Unknown(f"{module} has no {name}")
            found = getattr(found, name)
        return
    raise Unknown(f"there is no module {text}")


def check_python(source: str) -> None:
    """A program's imports of ours."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ROOMS:
            for alias in node.names:
                check_dotted(f"{node.module}.{alias.name}")


@cache
def metrics_of_the_server() -> tuple[str, ...]:
    """The name of each metric, as Prometheus shows it."""
    registry = CollectorRegistry()
    Metrics(registry, "0", CostCounter({"generate": 0.0}, lambda: 0.0), target_s=1.0)
    return tuple(family.name + ("_total" if family.type == "counter" else "") for family in registry.collect())


def check_metric(name: str) -> None:
    """A metric, or one of the series of a histogram."""
    if re.sub(r"_(?:sum|count|bucket)$", "", name) not in metrics_of_the_server():
        raise Unknown(f"there is no metric {name}")


@cache
def words_of_the_source() -> frozenset[str]:
    """Every word of the code, its recipes and its scripts: a name of ours is one of them."""
    files = [path for room in ROOMS for path in (ROOT / room).rglob("*") if path.suffix in (".py", ".yaml", ".js")]
    ours = [path for path in files if not path.is_relative_to(ROOT / "tests")]
    return frozenset(word for path in ours for word in re.findall(r"[A-Za-z_]\w*", path.read_text(encoding="utf-8")))


def check_word(word: str) -> None:
    if word not in words_of_the_source():
        raise Unknown(f"{word} is no name of ours")


def check_span(span: Named) -> None:
    """Inline code, by what it looks like."""
    text = span.text
    first = text.split()[0]
    if first in ("bestofn", "make", "python"):
        check_mention(text)
    elif re.match(r"--?[a-z]", text):
        check_option(text)
    elif re.match(r'\{?"\w+": ', text) and "..." not in text and '{"error' not in text:
        check_fragment(text)
    elif re.fullmatch(r"rerank(\.\w+)+(: \w+)?", text):
        check_rerank_key(text)
    elif _DOTTED.fullmatch(text):
        check_dotted(text)
    elif _PATH.fullmatch(text):
        check_path(text)
    elif _FILE.fullmatch(text):
        check_file(text)
    elif re.fullmatch(r"[a-z]+(_[a-z]+)+", text) and not text.startswith("bestofn_"):
        check_word(text)
