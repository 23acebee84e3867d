"""`make overload`: what becomes of a server that is asked four times what it can do.

It starts a server with few places for candidates and measures, in turn, its capacity, which is as many locust users as
fit exactly, and four times as many, each of which asks again as soon as it is answered, or when `retry-after` lets it.
That is a closed loop, in which a server that stalls is asked less, and fewer of its slow answers are counted
(coordinated omission). What locust counted is held against the server's own counters, to the request and to the token;
memory is that of the server and its engines.
"""

import asyncio
import json
import math
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psutil
from rich.console import Console
from rich.table import Table

from loadtests.bench import contenders
from loadtests.workload import WORKLOADS
from measuring.client import connect
from measuring.estimators import quantile
from measuring.scrape import Scrape, scrape
from measuring.server_process import ServerProcess

LOCUSTFILE = Path(__file__).parents[1] / "locustfile.py"
_WORKLOAD = WORKLOADS / "best_of_8.yaml"
_BEST_OF = 8
_MAX_CANDIDATES = 64
_TIMES = 4
_SECONDS = 20
_ROUNDS = 5
_COUNTERS = {
    "answered": ("bestofn_requests_total", {"outcome": "ok"}),
    "refused": ("bestofn_requests_total", {"outcome": "overloaded"}),
    "requests": ("bestofn_requests_total", {}),
    "tokens": ("bestofn_generated_tokens_total", {}),
    "engine's tokens": ("vllm:generation_tokens_total", {}),
}


@dataclass(frozen=True)
class LocustRow:
    """A row of locust's statistics."""

    requests: int
    failures: int
    total: int
    values: Mapping[int, int]  # how often each value was seen, rounded to three digits by us

    def quantile(self, share: float) -> float:
        """As `quantile` of all values that were seen."""
        return quantile(list(Counter(self.values).elements()), share)


@dataclass(frozen=True)
class LocustRun:
    """What locust saw in one run. Rows are sums over all names of the kind."""

    status: int  # of its process
    lasted_s: float  # from the first request's sending to the last answer or refusal; 0 without any
    post: LocustRow
    answered: LocustRow  # of the requests of `post`, those that did not fail
    refused: LocustRow
    retry_after: LocustRow
    generated: LocustRow

    @property
    def counted(self) -> dict[str, int]:
        """What the server's `_COUNTERS` should have grown by."""
        return {
            "answered": self.answered.requests,
            "refused": self.refused.requests,
            "requests": self.post.requests + self.refused.requests,
            "tokens": self.generated.total,
            "engine's tokens": self.generated.total,
        }


async def run_locust(url: str, users: int, seconds: int, *options: str, workload: Path = _WORKLOAD) -> LocustRun:
    """A headless run; requests under way at its end are waited for. Raises RuntimeError with what locust printed."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "stats.json"  # locust adds the ending
        command = f"--headless -u {users} -r {users} -t {seconds} --stop-timeout 60 --only-summary --loglevel ERROR"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--host", url, "--workload", str(workload)),
            *(*command.split(), "--json-file", str(file.with_suffix("")), *options),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        status = await process.wait()
        if not file.exists():
            raise RuntimeError(f"locust ended with status {status}:\n{output.decode()}")
        return read_run(status, json.loads(file.read_text(encoding="utf-8")))


def read_run(status: int, entries: Sequence[Mapping[str, Any]]) -> LocustRun:
    """From the list that locust writes with --json-file."""

    def named(method: str, ending: str = "") -> list[Mapping[str, Any]]:
        return [entry for entry in entries if entry["method"] == method and entry["name"].endswith(ending)]

    def row(mine: Sequence[Mapping[str, Any]]) -> LocustRow:
        values: Counter[int] = Counter()
        for entry in mine:
            for value, number in entry["response_times"].items():
                values[round(float(value))] += number
        return LocustRow(
            requests=sum(entry["num_requests"] for entry in mine),
            failures=sum(entry["num_failures"] for entry in mine),
            total=sum(entry["total_response_time"] for entry in mine),
            values=values,
        )

    post, answered, refused = named("POST"), named("ms", "answered"), named("429")
    began_s = [entry["start_time"] for entry in [*answered, *refused]]
    ended_s = [entry["last_request_timestamp"] for entry in [*post, *refused]]
    return LocustRun(
        status=status,
        lasted_s=max(ended_s) - min(began_s) if began_s else 0.0,
        post=row(post),
        answered=row(answered),
        refused=row(refused),
        retry_after=row(named("ms", "retry-after")),
        generated=row(named("tokens", "generated")),
    )


async def counters(client: httpx2.AsyncClient) -> dict[str, int]:
    """The server's counters, once no candidate is in flight any more."""
    async with asyncio.timeout(60):
        while True:
            seen = await scrape(client)
            if not any(busy(seen)):
                return {what: int(seen.total(name, **labels)) for what, (name, labels) in _COUNTERS.items()}
            await asyncio.sleep(0.2)


def busy(seen: Scrape) -> tuple[int, int]:
    """Candidates in flight by our gauge, and sequences that run by vLLM's."""
    return int(seen.total("bestofn_candidates_in_flight")), int(seen.total("vllm:num_requests_running"))


def differences(before: Mapping[str, int], after: Mapping[str, int], run: LocustRun) -> list[str]:
    """One line for each counter that is not what locust counted."""
    grown = {what: after[what] - before[what] for what in before}
    return [
        f"{what}: {grown[what]} by the server, {n} by locust" for what, n in run.counted.items() if grown[what] != n
    ]


async def main() -> int:
    """Measure, print, and give the exit status: 1 where counters differ or a request failed."""
    memory: list[dict[str, float]] = []
    with contenders.started(contenders.ours(["--max-candidates", str(_MAX_CANDIDATES)])) as server:
        runs, wrong = await _measure(server, memory)
    _show(runs, memory)
    for line in wrong or ["the server's counters are locust's, to the request and to the token"]:
        Console().print(line)
    return 1 if wrong else 0


async def _measure(
    server: ServerProcess, memory: list[dict[str, float]]
) -> tuple[dict[int, list[LocustRun]], list[str]]:
    """Runs by their number of users, and what is wrong with them. memory: gets what `_watch` notes meanwhile."""
    places = _MAX_CANDIDATES // _BEST_OF
    runs: dict[int, list[LocustRun]] = {places: [], _TIMES * places: []}
    wrong: list[str] = []
    async with connect(server.url, clients=1) as client:
        for users in runs:  # warms up
            await run_locust(server.url, users, 10)
        before = await counters(client)
        watching = asyncio.create_task(_watch(server.pid, memory))
        for users in [*runs] * _ROUNDS:
            run = await run_locust(server.url, users, _SECONDS)
            runs[users].append(run)
            after = await counters(client)
            wrong += differences(before, after, run)
            wrong += [f"{run.post.failures} requests of {users} users failed"] if run.post.failures else []
            before = after
        watching.cancel()
    return runs, wrong


async def _watch(pid: int, memory: list[dict[str, float]]) -> None:
    """Note each second the MiB of the server's process, and of its engines with all that they started."""
    while True:
        with suppress(psutil.NoSuchProcess):
            server = psutil.Process(pid)
            cores = [child for child in server.children() if child.name() == "VLLM::EngineCore"]
            engines = sorted(cores, key=lambda core: core.create_time())  # they are started in this order
            groups = [[server], *([core, *core.children(recursive=True)] for core in engines)]
            names = ("server", "generator", "reward model")
            memory.append({n: sum(p.memory_info().rss for p in g) / 2**20 for n, g in zip(names, groups, strict=False)})
        await asyncio.sleep(1)


def _show(runs: Mapping[int, Sequence[LocustRun]], memory: Sequence[Mapping[str, float]]) -> None:
    """Medians over the rounds with their range."""
    title = f"best_of = {_BEST_OF}, --max-candidates {_MAX_CANDIDATES}, {_ROUNDS} rounds of {_SECONDS} s each"
    table = Table(title=title)
    table.add_column("")
    for users in runs:
        table.add_column(f"{users} users", justify="right")
    rows: Mapping[str, tuple[Callable[[LocustRun], float], str]] = {
        "answered, requests/s": (_answered, ".2f"),
        "offered, requests/s": (lambda run: run.counted["requests"] / run.lasted_s, ".2f"),
        "latency of accepted, p50 s": (lambda run: run.answered.quantile(0.5) / 1000, ".2f"),
        "latency of accepted, p95 s": (lambda run: run.answered.quantile(0.95) / 1000, ".2f"),
        "refused with 429": (lambda run: run.refused.requests / run.counted["requests"], ".1%"),
        "time to a refusal, p95 ms": (lambda run: run.refused.quantile(0.95), ".0f"),
        "retry-after, p95 s": (lambda run: run.retry_after.quantile(0.95) / 1000, ".0f"),
    }
    for name, (value, form) in rows.items():
        table.add_row(name, *(_range([value(run) for run in each], form) for each in runs.values()))
    console = Console(width=110)
    console.print(table)
    capacity, overload = runs.values()
    ratios = [_answered(more) / _answered(full) for full, more in zip(capacity, overload, strict=True)]
    console.print(f"answered at {_TIMES} times the load, over answered at capacity: {_range(ratios, '.3f')}")
    for name in memory[-1]:
        tenths = [memory[(len(memory) - 1) * part // 10].get(name, math.nan) for part in range(11)]
        console.print(f"memory of the {name} over all runs, MiB: " + " ".join(f"{value:.0f}" for value in tenths))


def _answered(run: LocustRun) -> float:
    return run.counted["answered"] / run.lasted_s


def _range(values: Sequence[float], form: str) -> str:
    """The median, and the least and the most in parentheses; a dash where there was nothing to measure."""
    if any(map(math.isnan, values)):
        return "–"
    return f"{statistics.median(values):{form}} ({min(values):{form}} – {max(values):{form}})"


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
