"""`make strategies`: what the strategies of `rerank` cost and keep, in the server, by the lab's gold reward.

The settings are learned first, from a trace of training prompts; held-out questions then go to one server. Arms take
turns in rounds with the same prompts and seeds, as often first as last; what a request cost is what vLLM's own counter
shows, which has to be what `usage` bills, to the token. Three questions, each with a goal:

- prune: of best-of-32's tokens and gold gain, how much is spent and kept? One client, for the latency.
- adaptive: how many candidates less than the fixed N that has as much gold? Some clients at once.
- deadline_ms and stop_after: how much of the tail do they cut, and what does that lose? An open loop, at a load where
  best-of-16's slowest answers take twice as long as the others; deadlines are shares of its p99 there. Sampled at a
  temperature at which some candidates ramble: at 1 the lab's answers to one question are equally long, and where nobody
  straggles there is nothing to cut.

Takes about 11 minutes.
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from rich.console import Console

from loadtests.bench import contenders
from loadtests.bench.overload import busy, counters
from loadtests.bench.strategies.report import show, write
from loadtests.bench.strategies.summary import (
    FULL,
    OPEN,
    Afterwards,
    Arm,
    LoadCalibration,
    MeasuredStrategies,
    Shot,
    read_shot,
)
from measuring.client import connect
from measuring.estimators import quantile
from measuring.loops import rotated
from measuring.questions import SEED_STEP, ask, ask_arriving
from measuring.scrape import scrape
from measuring.server_process import bestofn
from training.labs import lab

LAB = lab("arithmetic")
_TRACED, _TRACED_SAMPLES, _TRACED_STEP = 100, 32, 8
_CLIENTS = 4
_SHARES = (0.4, 0.55, 0.7, 0.85)  # of the throughput of a full server
_SEARCH_S = 8.0
_CALIBRATION_S = 20.0
_RAMBLING = 1.9
_TAIL = 2.0  # p99 over p50 of best-of-16 that the load is to bring
_DEADLINES = (0.4, 0.6, 0.9)  # of that p99
_LOAD_ROUNDS, _LOAD_S = 5, 10.0  # as many rounds as arms
_CONNECTIONS = 2000

Body = Mapping[str, Any]

CUT: Mapping[str, Body] = {
    "prune": {"best_of": 32, "rerank": {"strategy": "prune", "keep": 0.5, "checkpoint_tokens": _TRACED_STEP}},
    "prune, learned": {"best_of": 32, "rerank": {"strategy": "prune"}},
    FULL: {"best_of": 32},
    OPEN: {"best_of": 16},
    "one sample": {"best_of": 1},
}
WAVES: Mapping[str, Body] = {
    f"adaptive, price {price}": {"best_of": 32, "rerank": {"strategy": "adaptive", "price": price, "wave": 2}}
    for price in (0.1, 0.3)
}
FIXED: Mapping[int, Body] = {size: {"best_of": size} for size in (1, 2, 3, 4, 8)}


@dataclass(frozen=True)
class Turns:
    """Arms that take turns."""

    arms: Mapping[str, Body]
    rounds: int  # as many as arms, or a multiple
    prompts: int  # of one round, for every arm the same
    clients: int
    seed: int


PRUNING = Turns(CUT, rounds=5, prompts=10, clients=1, seed=11)
WAVING = Turns(
    {**WAVES, **{f"best of {size}": arm for size, arm in FIXED.items()}},
    rounds=7,
    prompts=15,
    clients=_CLIENTS,
    seed=12,
)


def fields(arm: Body) -> dict[str, Any]:
    """Of every request of an arm."""
    rerank = {**arm.get("rerank", {}), "return_candidates": True}
    return {"max_tokens": LAB.answer_tokens, **arm, "rerank": rerank}


async def take_turns(client: httpx2.AsyncClient, turns: Turns) -> dict[str, Arm]:
    """Every arm's answers, in order. Raises RuntimeError where a request fails."""
    found = {name: Arm(name) for name in turns.arms}
    prompts = LAB.prompts(turns.rounds * turns.prompts, "held_out", seed=turns.seed)
    for number in range(turns.rounds):
        start = number * turns.prompts
        mine = prompts[start : start + turns.prompts]
        for name in rotated(list(turns.arms), number):
            before = await counters(client)
            load = await ask(client, mine, fields(turns.arms[name]), turns.clients, seed=SEED_STEP * start)
            shots = [read_shot(answer, prompt, LAB) for answer, prompt in zip(load.answers, mine, strict=True)]
            found[name] = await _grown(client, found[name], shots, before)
    return found


async def _grown(client: httpx2.AsyncClient, arm: Arm, shots: list[Shot], before: Mapping[str, int]) -> Arm:
    after = await counters(client)
    return arm.grown(shots, after["tokens"] - before["tokens"], after["engine's tokens"] - before["engine's tokens"])


async def calibrate(client: httpx2.AsyncClient) -> LoadCalibration:
    """The least load that gives best-of-16 the tail that is wanted, or the greatest that is tried."""
    arm = {"best_of": 16, "temperature": _RAMBLING}
    prompts = LAB.prompts(50, "held_out", seed=21)
    full = await ask(client, prompts, fields(arm), 8, seed=0)
    for share in _SHARES:
        rate = share * full.requests_per_second
        latencies_s = [shot.latency_s for shot in await offered(client, arm, rate, _SEARCH_S, seed=22)]
        if quantile(latencies_s, 0.99) >= _TAIL * quantile(latencies_s, 0.5):
            break
    latencies_s = [shot.latency_s for shot in await offered(client, arm, rate, _CALIBRATION_S, seed=23)]
    return LoadCalibration(full.requests_per_second, rate, quantile(latencies_s, 0.5), quantile(latencies_s, 0.99))


async def offered(client: httpx2.AsyncClient, arm: Body, rate: float, seconds: float, *, seed: int) -> list[Shot]:
    """Poisson arrivals; the same seed gives the same questions at the same times."""
    asked = await ask_arriving(client, LAB, fields(arm), rate, seconds, seed=seed)
    return [read_shot(answer, prompt, LAB) for answer, prompt in asked]


async def under_load(client: httpx2.AsyncClient, load: LoadCalibration) -> tuple[dict[str, Arm], dict[str, Afterwards]]:
    """Best-of-16 as it is, with deadlines, and with enough of 12."""
    deadlines_ms = [round(1000 * share * load.p99_s) for share in _DEADLINES]
    options: Mapping[str, Body] = {
        OPEN: {},
        **{f"deadline {milliseconds} ms": {"deadline_ms": milliseconds} for milliseconds in deadlines_ms},
        "first 12 of 16": {"stop_after": 12},
    }
    arms = {name: {"best_of": 16, "temperature": _RAMBLING, "rerank": rerank} for name, rerank in options.items()}
    found = {name: Arm(name) for name in arms}
    left: dict[str, Afterwards] = {}
    for number in range(_LOAD_ROUNDS):
        for name in rotated(list(arms), number):
            before = await counters(client)
            shots = await offered(client, arms[name], load.rate, _LOAD_S, seed=100 + number)
            now = await until_idle(client)
            left[name] = max(left.get(name, now), now, key=lambda one: (one.in_flight + one.running, one.idle_after_s))
            found[name] = await _grown(client, found[name], shots, before)
    return found, left


async def until_idle(client: httpx2.AsyncClient) -> Afterwards:
    """Wait until nothing runs; what did at first."""
    began_s = time.perf_counter()
    first = now = busy(await scrape(client))
    while any(now):
        await asyncio.sleep(0.02)
        now = busy(await scrape(client))
    return Afterwards(*first, time.perf_counter() - began_s)


async def learn(profile: Path) -> None:
    """Write a profile of the strategies, from a trace of training prompts. Raises RuntimeError where that fails."""
    with tempfile.TemporaryDirectory() as folder:
        trace = f"{folder}/trace.parquet"
        with contenders.started(contenders.ours()) as server:
            await _bestofn(
                *("collect", "--trace", "--lab", LAB.name, "--split", "train", "--base-url", f"{server.url}/v1"),
                *("--prompts", str(_TRACED), "--samples", str(_TRACED_SAMPLES), "--concurrency", "4"),
                *("--checkpoint-tokens", str(_TRACED_STEP), "--output", trace),
            )
        await _bestofn("replay", trace, "--best-of", str(_TRACED_SAMPLES), "--learn", str(profile), "--draws", "1")


async def _bestofn(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *bestofn(*arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"bestofn {arguments[0]} ended with status {process.returncode}:\n{output.decode()[-2000:]}")


async def main(folder: Path, profile: Path | None) -> int:
    """Measure, print, write strategies.json and strategies.png; exit status 1 where tokens or what was left differ."""
    console, began_s = Console(), time.monotonic()

    def note(what: str) -> None:
        console.print(f"{what} after {time.monotonic() - began_s:.0f} s")

    if profile is None:
        profile = folder / "profile.json"
        await learn(profile)
    with contenders.started(contenders.ours(["--strategy-profile", str(profile)])) as server:
        async with connect(server.url, clients=_CONNECTIONS) as client:
            measured = await measure(client, note)
    write(folder, measured)
    note(f"all measured on {os.cpu_count()} cores")
    return show(measured)


async def measure(client: httpx2.AsyncClient, note: Callable[[str], None]) -> MeasuredStrategies:
    """All arms, on a server that has learned its settings. note: is called with what was done."""
    for arm in (CUT[FULL], CUT["prune"], *WAVES.values()):  # warms up
        await ask(client, LAB.prompts(6, "held_out", seed=1), fields(arm), 2, seed=0)
    note("learned and started")
    cut = await take_turns(client, PRUNING)
    waving = await take_turns(client, WAVING)
    note("prune and adaptive measured")
    calibration = await calibrate(client)
    loaded, left = await under_load(client, calibration)
    waves = {name: waving[name] for name in WAVES}
    fixed = {size: waving[f"best of {size}"] for size in FIXED}
    return MeasuredStrategies(cut, waves, fixed, loaded, calibration, left)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--output", type=Path, default=Path("runs/strategies"), help="folder for figures and numbers")
    parser.add_argument("--profile", type=Path, help="use these learned settings instead of learning them")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    raise SystemExit(asyncio.run(main(given.output, given.profile)))
