"""Runs a trainer in several CPU processes, as `accelerate launch` does."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def train_in_processes(
    processes: int, train: Callable[..., Any], config: Any, output: Path, *, timeout_s: float = 240
) -> None:
    """`train(config, output)` in so many processes that share their gradients over gloo.

    `train` and `config` must be importable ones. Fails with the end of the processes' output.
    """
    output.mkdir(parents=True, exist_ok=True)
    task = output / "task.pickle"
    task.write_bytes(pickle.dumps((train, config, output)))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    ended = subprocess.run(
        [*launch, __file__, str(task)],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert not ended.returncode, ended.stdout[-2000:] + ended.stderr[-20_000:]


def _work() -> None:
    train, config, output = pickle.loads(Path(sys.argv[1]).read_bytes())
    train(config, output)


if __name__ == "__main__":
    sys.path.insert(0, os.getcwd())
    _work()
