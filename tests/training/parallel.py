"""CPU processes that train together, started by torch's own launcher as `accelerate launch` starts them.

They take one training after another, because importing torch and transformers takes longer than a training of a test.
"""

import os
import pickle
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import psutil

Train = Callable[[Callable[..., Any], Any, Path], None]  # train(trainer, config, output)

_POLL_S = 0.02


class Processes:
    """So many processes that share their gradients over gloo. What they print and raise goes into `folder`."""

    def __init__(self, processes: int, folder: Path) -> None:
        self._folder = folder
        self._processes = processes
        self._trainings = 0
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        with (folder / "log").open("wb") as log:
            self._launcher = subprocess.Popen(
                [*launch, __file__, str(folder), str(os.getpid())],
                cwd=Path(__file__).parents[2],
                env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def train(self, train: Callable[..., Any], config: Any, output: Path, *, timeout_s: float = 240) -> None:
        """`train(config, output)` in each of them. `train` and `config` must be importable ones.

        Raises AssertionError with the traceback of one of them, or with the end of what they printed.
        """
        output.mkdir(parents=True, exist_ok=True)
        number, self._trainings = self._trainings, self._trainings + 1
        _write_whole(self._folder / f"{number}.task", pickle.dumps((train, config, output)))
        done = [self._folder / f"{number}.done-{rank}" for rank in range(self._processes)]
        ends_s = time.monotonic() + timeout_s
        while not all(path.exists() for path in done) and self.running and time.monotonic() < ends_s:
            if any(path.exists() and path.read_text() for path in done):
                break  # the others may wait for it for ever
            time.sleep(_POLL_S)
        raised = [path.read_text() if path.exists() else "did not end" for path in done]
        if any(raised):
            self._launcher.terminate()
            self._launcher.wait(60)
            raise AssertionError("\n".join([*raised, self._printed()]))

    @property
    def running(self) -> bool:
        return self._launcher.poll() is None

    def end(self) -> None:
        """After the last training."""
        if self.running:
            (self._folder / "end").touch()
            assert self._launcher.wait(60) == 0, self._printed()

    def _printed(self) -> str:
        return (self._folder / "log").read_text(errors="replace")[-20_000:]


def _write_whole(path: Path, content: bytes) -> None:
    half = path.with_name(f"{path.name}.half")
    half.write_bytes(content)
    half.rename(path)


def _work(folder: Path, parent: int) -> None:
    from accelerate.state import AcceleratorState, GradientState

    for number in count():
        task = folder / f"{number}.task"
        while not task.exists():
            if (folder / "end").exists() or not psutil.pid_exists(parent):
                return
            time.sleep(_POLL_S)
        raised = ""
        try:
            train, config, output = pickle.loads(task.read_bytes())
            train(config, output)
        except BaseException:
            raised = traceback.format_exc()
        for state in (AcceleratorState, GradientState):
            state._reset_state()
        _write_whole(folder / f"{number}.done-{os.environ['RANK']}", raised.encode())


if __name__ == "__main__":
    sys.path.insert(0, os.getcwd())
    _work(Path(sys.argv[1]), int(sys.argv[2]))
