"""What a change costs plain best-of-N: `python -m loadtests.bench.revision COMMIT`, this tree beside that commit.

Both revisions serve at once, from a git worktree and from here, under the same vLLM. Requests take turns, one client
with each in flight alone, then bursts of sixteen clients; which revision is first changes from round to round. Ratios
are of medians, ours over theirs, with intervals over rounds. With HEAD as the commit they show what noise there is.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import httpx2
import numpy as np
from rich.console import Console
from rich.table import Table

from loadtests.bench import contenders
from measuring.client import connect
from measuring.estimators import Floats, Interval, bootstrap
from measuring.questions import ask
from measuring.server_process import Command
from training.data.records import Conversation
from training.labs import lab

_LAB = lab("arithmetic")
_BEST_OF = 8
_ROUNDS = 10
_ALONE = 10
_CLIENTS, _BURST = 16, 48
_GOAL = 1.02
_ROOT = Path(__file__).parents[2]


@contextmanager
def worktree(commit: str) -> Iterator[Path]:
    """The files of a commit. Raises ValueError where git knows none of that name."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        made = _git("worktree", "add", "--detach", str(tree), commit)
        if made.returncode:
            raise ValueError(f"COMMIT {commit}: {made.stderr.strip()}")
        try:
            yield tree
        finally:
            _git("worktree", "remove", "--force", str(tree))


def _git(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["git", "-C", str(_ROOT), *arguments], capture_output=True, text=True, check=False)


def environment(tree: Path) -> Mapping[str, str]:
    """In which Python imports our packages from `tree`, wherever it is started."""
    return {"PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1"}


def serve(tree: Path) -> Command:
    """`bestofn serve` of the files in `tree`, whose command line is in the package `service` where it has no other."""
    package = "bestofn_server" if (tree / "bestofn_server").is_dir() else "service"
    return lambda port: [sys.executable, "-m", package, "serve", "--disable-uvicorn-access-log", "--port", str(port)]


async def measure(ours: httpx2.AsyncClient, theirs: httpx2.AsyncClient, rounds: int) -> tuple[Floats, Floats]:
    """Latencies in seconds of one client and of bursts, both [rounds, requests, (ours, theirs)]."""
    sides = (ours, theirs)
    alone = np.empty((rounds, _ALONE, 2))
    burst = np.empty((rounds, _BURST, 2))
    for number in range(rounds):
        order = (0, 1) if number % 2 else (1, 0)
        for index, prompt in enumerate(_LAB.prompts(_ALONE, "held_out", seed=2 * number)):
            for side in order:
                alone[number, index, side] = (await _latencies_s(sides[side], [prompt], 1, seed=index))[0]
        prompts = _LAB.prompts(_BURST, "held_out", seed=2 * number + 1)
        for side in order:
            burst[number, :, side] = await _latencies_s(sides[side], prompts, _CLIENTS, seed=number)
    return alone, burst


async def _latencies_s(
    client: httpx2.AsyncClient, prompts: Sequence[Conversation], clients: int, *, seed: int
) -> Sequence[float]:
    """Of best-of-N for each prompt. Raises ServerFailed where a request fails."""
    load = await ask(client, prompts, {"best_of": _BEST_OF, "max_tokens": _LAB.answer_tokens}, clients, seed=seed)
    return load.whole(f"{client.base_url}").latencies_s


def ratio(latencies_s: Floats) -> Interval:
    """Median of ours over median of theirs, with the interval over rounds. latencies_s: [rounds, requests, 2]."""

    def of_medians(sample: Floats) -> float:
        ours_s, theirs_s = np.median(sample.reshape(-1, 2), axis=0)
        return float(ours_s / theirs_s)

    return bootstrap(latencies_s, of_medians)


def table(commit: str, alone: Floats, burst: Floats) -> Table:
    """A line for one client and a line for many."""
    shown = Table(
        "clients", "ours, p50 s", f"{commit}, p50 s", "ratio", f"≤ {_GOAL}",
        title=f"best_of = {_BEST_OF}, {len(alone)} rounds, {os.cpu_count()} cores",
    )  # fmt: skip
    for clients, latencies_s in ((1, alone), (_CLIENTS, burst)):
        ours_s, theirs_s = np.median(latencies_s.reshape(-1, 2), axis=0)
        found = ratio(latencies_s)
        met = "yes" if found.value <= _GOAL else "no"
        shown.add_row(str(clients), f"{ours_s:.3f}", f"{theirs_s:.3f}", found.text(), met)
    return shown


async def main(tree: Path, commit: str, rounds: int) -> None:
    """Measure and print one table."""
    async with AsyncExitStack() as stack:
        clients = []
        for root in (_ROOT, tree):
            server = stack.enter_context(contenders.started(serve(root), environment(root)))
            clients.append(await stack.enter_async_context(connect(server.url, clients=_CLIENTS)))
        ours, theirs = clients
        await measure(ours, theirs, 1)  # warms up
        alone, burst = await measure(ours, theirs, rounds)
    Console(width=110).print(table(commit, alone, burst))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("commit", help="what to compare with, as git names it")
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help=f"alternations, default {_ROUNDS}")
    given = parser.parse_args()
    with worktree(given.commit) as other:
        asyncio.run(main(other, given.commit, given.rounds))
