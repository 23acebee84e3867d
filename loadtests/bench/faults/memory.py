"""Whether memory stays: half an hour of mixed load with clients that leave, and the memory of every process.

    python -m loadtests.bench.faults.memory                      # 30 minutes, of which 5 are warm-up
    python -m loadtests.bench.faults.memory --minutes 4 --warm-up 1 --kv-cache-mb 16

Each 10 s: resident memory of each process, what of it is its own, and what lies in large anonymous mappings (KV cache,
tensors) or in the heap. After the warm-up a line is fitted through each; its slope has a 95 % interval from a bootstrap
over blocks of time, since neighbours are alike. A process is flat where the interval holds 0 or the slope is below
`_FLAT_MB` an hour. The mappings that grew most from the first sample on say where it went: one that grows up to its
size was reserved at the start and is only touched since.

The engines' workers grow at first, by 450 MB each with the bundled models on a CPU: oneDNN keeps a compiled primitive
for each shape it has met, of which a batch's number of tokens is one, until it holds 1024 of them. With
`--environment ONEDNN_PRIMITIVE_CACHE_CAPACITY=4` they stop after 15 s. The KV cache is committed at the start. The API
process grows by what tokenizers remember: each keeps the tokens of 10,000 words, of which the bundled models take a
whole text of up to 256 characters for one (60 MB for the longest). A thousand questions are asked in turn, so that only
new answers go on filling it.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from loadtests.bench.faults.life import Life, living
from loadtests.bench.faults.traffic import SHAPES, asking
from loadtests.bench.faults.wire import Manners, send
from measuring.estimators import Floats
from service.vllm.bundled import REWARD_ENGINE_ARGS

_EVERY_S = 10.0
_CLIENTS = 6
_LEAVES = 0.2  # share of requests whose client leaves
_BLOCK = 6  # neighbouring samples, a minute
_DRAWS = 2000
_FLAT_MB = 6.0  # an hour: 3 MB in the half hour that is measured
_LARGE_BYTES = 4 * 2**20
_MB = 2**20
_SHOWN = 6
_QUESTIONS = 1000
_KINDS = ("rss", "uss", "large", "heap")


@dataclass(frozen=True)
class Sample:
    """Memory of one process at one moment, in MB.

    rss: resident. uss: of it alone. large: anonymous and resident in mappings of 4 MB and more, but the heap.
    heap: of malloc, which is [heap] and anonymous mappings that are smaller.
    """

    process: str
    at_s: float
    rss: float
    uss: float
    large: float
    heap: float
    threads: int


@dataclass(frozen=True)
class Slope:
    """MB an hour, with a 95 % interval."""

    per_hour: float
    low: float
    high: float

    @property
    def is_flat(self) -> bool:
        """Whether it may be 0, or is too little to matter."""
        return self.low <= 0 or self.per_hour < _FLAT_MB


def slope(seconds: Sequence[float], values: Sequence[float] | Floats, seed: int = 0) -> Slope:
    """Least squares, with the residuals' blocks drawn again for the interval. Raises ValueError for too few points."""
    x, y = np.asarray(seconds) / 3600, np.asarray(values)
    if len(x) < 2 * _BLOCK:
        raise ValueError(f"{len(x)} samples are too few for an interval; it takes {2 * _BLOCK}")
    gradient, offset = np.polyfit(x, y, 1)
    fitted = gradient * x + offset
    residuals = y - fitted
    generator = np.random.default_rng(seed)
    starts = generator.integers(0, len(x) - _BLOCK + 1, size=(_DRAWS, -(-len(x) // _BLOCK)))
    drawn = residuals[(starts[..., None] + np.arange(_BLOCK)).reshape(_DRAWS, -1)[:, : len(x)]]
    centred = x - x.mean()
    slopes = gradient + drawn @ centred / (centred @ centred)
    low, high = np.quantile(slopes, [0.025, 0.975])
    return Slope(float(gradient), float(low), float(high))


def processes(life: Life) -> dict[str, psutil.Process]:
    """By what they are: api, generator core and worker, reward core and worker."""
    life.look()
    found = {"api": psutil.Process(life.process.pid)}
    for target in ("generator", "reward"):
        pid = life.pid(target)
        if pid is None:
            continue
        core = psutil.Process(pid)
        found[f"{target} core"] = core
        for number, worker in enumerate(core.children(recursive=True)):
            found[f"{target} worker" + (f" {number}" if number else "")] = worker
    return found


@dataclass(frozen=True)
class Region:
    """One mapping of a process, in MB."""

    size: float
    rss: float


def mappings(process: psutil.Process) -> dict[str, Region]:
    """By their first address. Raises psutil.Error where the process is gone."""
    found = process.memory_maps(grouped=False)
    return {one.addr.partition("-")[0]: Region(one.size / _MB, one.rss / _MB) for one in found}


def most_grown(before: Mapping[str, Region], after: Mapping[str, Region]) -> list[str]:
    """A line for each of the mappings that grew by 1 MB and more, the most first."""
    grown = {address: one.rss - before[address].rss for address, one in after.items() if address in before}
    new = sum(one.rss for address, one in after.items() if address not in before)
    named = [
        f"+{grown[address]:.0f} MB to {after[address].rss:.0f} of {after[address].size:.0f} MB"
        for address in sorted(grown, key=lambda address: -grown[address])[:_SHOWN]
        if grown[address] >= 1
    ]
    return [*named, f"+{new:.0f} MB in mappings that are new"] if new >= 1 else named


def take(name: str, process: psutil.Process, at_s: float) -> Sample:
    """Raises psutil.Error where it is gone."""
    uss, large, heap = 0.0, 0.0, 0.0
    for region in process.memory_maps(grouped=False):
        uss += region.private_clean + region.private_dirty
        if region.path == "[heap]" or (region.path == "[anon]" and region.size < _LARGE_BYTES):
            heap += region.rss
        elif region.path == "[anon]":
            large += region.rss
    rss = process.memory_info().rss
    return Sample(name, at_s, rss / _MB, uss / _MB, large / _MB, heap / _MB, process.num_threads())


async def load(life: Life, until_s: float, rng: random.Random) -> int:
    """Mixed load of all shapes until then; how many requests there were."""
    asked = 0
    questions = [_question(rng) for _ in range(_QUESTIONS)]

    async def client() -> None:
        nonlocal asked
        while time.monotonic() < until_s:
            path, streamed = rng.choice(SHAPES)
            leaves = rng.random() < _LEAVES
            manners = Manners(leave_after_s=rng.uniform(0.0, 0.5) if leaves else None)
            asked_now = asking(path, streamed, question=rng.choice(questions), best_of=rng.choice((1, 4, 8, 16)))
            await send(life.url, asked_now, manners)
            asked += 1

    await asyncio.gather(*(client() for _ in range(_CLIENTS)))
    return asked


def _question(rng: random.Random) -> str:
    return "What is " + "+".join(str(rng.randint(10, 99)) for _ in range(rng.choice((2, 3, 9, 60)))) + "?"


async def watch(life: Life, began_s: float, until_s: float, samples: list[Sample]) -> dict[str, list[str]]:
    """Note every process each 10 s; then where each has grown since."""
    known = processes(life)
    first = {name: mappings(process) for name, process in known.items()}
    while time.monotonic() < until_s:
        at_s = time.monotonic() - began_s
        for name, process in known.items():
            with suppress(psutil.Error):
                samples.append(await asyncio.to_thread(take, name, process, at_s))
        await asyncio.sleep(_EVERY_S)
    return {name: most_grown(first[name], mappings(process)) for name, process in known.items()}


def report(samples: Sequence[Sample], warm_up_s: float) -> tuple[Table, list[str]]:
    """A row for each process, and those that grow."""
    table = Table(title="memory after the warm-up, MB; slopes in MB an hour with 95 % intervals")
    for name in ("process", "first", "last", *(f"{kind} / h" for kind in _KINDS), "threads"):
        table.add_column(name, justify="right")
    groups: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.at_s >= warm_up_s:
            groups[sample.process].append(sample)
    growing = []
    for name, mine in groups.items():
        slopes = _slopes(mine)
        cells = [f"{one.per_hour:+.1f} ({one.low:+.1f} to {one.high:+.1f})" for one in slopes.values()]
        table.add_row(name, f"{mine[0].rss:.0f}", f"{mine[-1].rss:.0f}", *cells, str(mine[-1].threads))
        if not slopes["rss"].is_flat:
            growing.append(f"{name}: {slopes['rss'].per_hour:+.1f} MB an hour")
    return table, growing


def _slopes(samples: Sequence[Sample]) -> Mapping[str, Slope]:
    at_s = [sample.at_s for sample in samples]
    return {kind: slope(at_s, [getattr(sample, kind) for sample in samples]) for kind in _KINDS}


def read(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench.faults.memory")
    parser.add_argument("--minutes", type=float, default=30, help="of load, the warm-up included")
    parser.add_argument("--warm-up", type=float, default=5, help="minutes that are not measured")
    parser.add_argument("--kv-cache-mb", type=int, default=0, help="of each engine; 0: the server's own")
    parser.add_argument("--environment", nargs="*", default=[], metavar="NAME=VALUE", help="of the server")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("runs/faults/memory.json"))
    return parser.parse_args(argv)


async def main(argv: Sequence[str]) -> int:
    """The status is 1 where a process grows."""
    arguments = read(argv)
    options = _kv_cache(arguments.kv_cache_mb * _MB) if arguments.kv_cache_mb else []
    environment = dict(text.split("=", 1) for text in arguments.environment)
    samples: list[Sample] = []
    console = Console(width=150)
    async with living(options, environment) as life:
        began_s = time.monotonic()
        until_s = began_s + 60 * arguments.minutes
        watching = asyncio.create_task(watch(life, began_s, until_s, samples))
        asked = await load(life, until_s, random.Random(arguments.seed))
        grown = await watching
    table, growing = report(samples, 60 * arguments.warm_up)
    console.print(table)
    console.print(f"{asked} requests in {arguments.minutes:g} minutes")
    for name, lines in grown.items():
        console.print(f"{name} grew, from the first sample to the last: {'; '.join(lines) or 'nowhere by 1 MB'}")
    for line in growing or ["every process is flat"]:
        console.print(line)
    text = json.dumps([asdict(sample) for sample in samples])
    await asyncio.to_thread(_write, arguments.output, text)
    return 1 if growing else 0


def _kv_cache(size_bytes: int) -> list[str]:
    """Options for both engines; the reward model's keep what suits the bundled one."""
    reward = {**REWARD_ENGINE_ARGS, "kv_cache_memory_bytes": size_bytes}
    return ["--kv-cache-memory-bytes", str(size_bytes), "--reward-engine-args", json.dumps(reward)]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
