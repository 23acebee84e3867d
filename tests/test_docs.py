"""The documentation against what there is: commands, options, files, links, keys, metrics; and none is left out."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import typer
import yaml

from bestofn_server.cli import app
from service.rerank.errors import ServiceError
from service.rerank.options import RerankOptions
from service.rerank.selection import Selection
from service.settings import Settings
from tests import documented
from tests.documentation import PAGES, ROOT, Named, anchors, blocks, links, shell_commands, spans
from tests.documented import ROOMS, Unknown

SERVER = ROOT / "docs" / "server.md"
STRATEGIES = ROOT / "docs" / "strategies.md"
TRAINING = ROOT / "docs" / "training.md"
_METRIC = re.compile(r"\bbestofn_[a-z][a-z_]*[a-z]\b")
_RECIPE = re.compile(r"# \S+\.yaml, for: (bestofn \S+ \S+)")

Item = TypeVar("Item")


def by_page(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def problems(items: Iterable[tuple[Named, Item]], check: Callable[[Item], None]) -> list[str]:
    """What is unknown, with its place."""
    found = []
    for named, item in items:
        try:
            check(item)
        except Unknown as error:
            found.append(f"{named} ({error})")
    return found


def of_language(page: Path, language: str) -> Iterator[tuple[Named, str]]:
    return ((block, block.text) for block in blocks(page) if block.language == language)


def metrics(page: Path) -> list[tuple[Named, str]]:
    text = page.read_text(encoding="utf-8")
    lines = enumerate(text.splitlines(), start=1)
    names = ((number, name) for number, line in lines for name in _METRIC.findall(line) if name not in ROOMS)
    return [(Named(page, number, name), name) for number, name in names]


@pytest.mark.parametrize("page", PAGES, ids=by_page)
def test_every_command_exists(page: Path) -> None:
    assert problems(shell_commands(page), documented.check_command) == []


@pytest.mark.parametrize("page", PAGES, ids=by_page)
def test_what_running_text_names_exists(page: Path) -> None:
    assert problems(((span, span) for span in spans(page)), documented.check_span) == []


@pytest.mark.parametrize("page", PAGES, ids=by_page)
def test_every_metric_exists(page: Path) -> None:
    assert problems(metrics(page), documented.check_metric) == []


@pytest.mark.parametrize("page", PAGES, ids=by_page)
def test_requests_answers_and_programs_have_the_keys_and_imports_that_there_are(page: Path) -> None:
    requests = ((block, json.loads(line)) for block, text in of_language(page, "json") for line in text.splitlines())
    answers = ((block, text) for block, text in of_language(page, "") if '"' in text)
    assert problems(requests, documented.check_request) == []
    assert problems(answers, documented.check_answer) == []
    assert problems(of_language(page, "python"), documented.check_python) == []


@pytest.mark.parametrize("page", PAGES, ids=by_page)
def test_a_recipe_holds_settings_of_its_command(page: Path) -> None:
    for block, text in of_language(page, "yaml"):
        command = _RECIPE.match(text)
        assert command, f"{block}: expected a first line that names the command it is for"
        documented.check_settings(command[1], yaml.safe_load(text))


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=by_page)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for link in links(page):
        if link.text.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.text.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(str(link))
    assert broken == []


def test_the_server_page_leaves_nothing_out() -> None:
    text = SERVER.read_text(encoding="utf-8")
    names = [f"--{name.replace('_', '-')}" for name in Settings.model_fields]
    names += [error.code for error in _descendants(ServiceError)]
    names += documented.metrics_of_the_server()
    assert [name for name in names if f"`{name}`" not in text] == []
    rerank = text[text.index("### The object `rerank`") : text.index("## The answer")]
    known = RerankOptions.keys()
    assert [name for name in known if f"| `{name}` |" not in rerank] == []


def test_the_other_pages_leave_nothing_out() -> None:
    strategies, training = (page.read_text(encoding="utf-8") for page in (STRATEGIES, TRAINING))
    known = Selection.keys()
    assert [name for name in known if f"`{name}" not in strategies and name != "pick"] == []
    launch_files = {path.name for path in (ROOT / "training" / "accelerate").glob("*.yaml")}
    assert launch_files == {"multi_gpu.yaml", "fsdp.yaml", "deepspeed_zero2.yaml"}
    assert [name for name in launch_files if name not in training] == []
    everything = " ".join(page.read_text(encoding="utf-8") for page in PAGES)
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert [name for name in commands if f"bestofn {name}" not in everything] == []


def test_the_front_door_is_short() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) <= 1000
    assert len(text.splitlines()) <= 160
    assert "|---" not in text


def test_the_extractor_finds_what_the_pages_name() -> None:
    assert len([command for page in PAGES for command in shell_commands(page)]) >= 50
    texts = [span.text for page in PAGES for span in spans(page)]
    assert len([text for text in texts if text.startswith("--")]) >= 40
    assert len([text for text in texts if text.startswith("make ")]) >= 10
    assert len([text for text in texts if text.startswith("bestofn ")]) >= 20
    assert len([text for text in texts if text.startswith("rerank.")]) >= 8
    assert len([text for text in texts if "/" in text]) >= 30
    assert len([link for page in PAGES for link in links(page) if "#" in link.text]) >= 10
    assert len([metric for page in PAGES for metric in metrics(page)]) >= 20
    assert len([block for page in PAGES for block in blocks(page) if block.language in ("json", "yaml")]) >= 3


@pytest.mark.parametrize(
    "command",
    [
        ["bestofn", "trian", "ppo"],
        ["bestofn", "train", "grpo"],
        ["bestofn", "train", "ppo", "--recipes", "arithmetic_ppo"],
        ["bestofn", "train", "ppo", "--recipe", "arithmetic_grpo"],
        ["bestofn", "train", "ppo", "--set", "clipping=0.1"],
        ["bestofn", "label", "candidates.jsonl", "--by", "dice"],
        ["bestofn", "collect", "--lab", "arithmetic"],
        ["make", "coffee"],
        ["make", "bench", "ARGS=--quick"],
        ["make", "slo", "ARGS=--quick"],
        ["make", "serve", "ARGUMENTS=--port 9000"],
        ["python", "-m", "loadtests.revision", "COMMIT"],
        ["python", "-m", "loadtests.bench.revision", "COMMIT", "--quick"],
        ["python", "-m", "bestofn_server", "brew"],
        [
            "accelerate",
            "launch",
            "--config_file",
            "training/accelerate/tpu.yaml",
            "-m",
            "bestofn_server",
            "train",
            "dpo",
        ],
        ["pip", "install", "bestofn"],
        ["pip", "install", ".[gpu]"],
        ["curl", "http://127.0.0.1:8000", "-d", '{"best_off": 8}'],
        ["curl", "http://127.0.0.1:8000", "-d", '{"rerank": {"strategy": "prune", "kept": 0.5}}'],
        ["bestof", "serve"],
    ],
    ids=" ".join,
)
def test_a_made_up_command_is_refused(command: list[str]) -> None:
    with pytest.raises(Unknown):
        documented.check_command(command)


@pytest.mark.parametrize(
    "text",
    [
        "bestofn evaluation",
        "bestofn study over-optimisation|l-wise",
        "bestofn replay --learned",
        "make coffee",
        "--max-best-off",
        "rerank.stop_reasons",
        "training.experiments.replays",
        "service.settings.Setting",
        "training/checkpoint",
        "fsdp2.yaml",
        '"strategy": "prune", "kept": 0.5',
        '{"pick": "dice"}',
        "cached_prompts_total",
    ],
)
def test_a_made_up_name_is_refused(text: str) -> None:
    with pytest.raises(Unknown):
        documented.check_span(Named(SERVER, 1, text))


def test_a_made_up_metric_setting_import_and_key_are_refused() -> None:
    with pytest.raises(Unknown):
        documented.check_metric("bestofn_tokens_saved_total")
    with pytest.raises(Unknown):
        documented.check_settings("bestofn train reward", ["clipping"])
    with pytest.raises(Unknown):
        documented.check_python("from bestofn_server import everything")
    with pytest.raises(Unknown):
        documented.check_answer('"rerank": {"best": 8}')


def test_a_made_up_option_of_serve_is_refused() -> None:
    pytest.importorskip("vllm")
    with pytest.raises(Unknown):
        documented.check_command(["bestofn", "serve", "--max-best-off", "8"])


def test_what_there_is_is_not_refused() -> None:
    documented.check_command(["bestofn", "serve", "--max-best-of", "8"])
    documented.check_command(["bestofn", "train", "ppo", "--set", "clip=0.1"])
    documented.check_metric("bestofn_reward_bucket")


def _descendants(kind: type[ServiceError]) -> Iterator[type[ServiceError]]:
    yield kind
    for one in kind.__subclasses__():
        yield from _descendants(one)
