"""What one policy costs at every N and load: latency, throughput, tokens and dollars, from the real server."""

import asyncio
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import httpx2
import numpy as np
from rich.progress import Progress

from measuring.client import connect
from measuring.estimators import Floats, Interval, bootstrap, mean_interval
from measuring.loops import Load
from measuring.questions import Prompt, ask
from measuring.scrape import Scrape, scrape
from training.experiments.compare.config import CompareConfig
from training.labs import lab

QUANTILES = (0.5, 0.95, 0.99)
_WARM_UP = 2


@dataclass(frozen=True)
class LoadCell:
    """One policy at one N under one load, over all repeats."""

    policy: str
    best_of: int
    clients: int
    latencies_s: Floats  # of every request
    each_dollars: Floats  # of every request: the machine's price by the share of its time
    per_second: Interval  # requests, of each repeat
    tokens: float
    straggler_share: float  # of the time of generation, what passed between the median and the last candidate's end

    @cached_property
    def dollars(self) -> Interval:
        """Of a request, with its interval over requests."""
        return bootstrap(self.each_dollars[:, None], lambda rows: float(rows.mean()))

    @cached_property
    def latency_s(self) -> dict[float, Interval]:
        """Each of QUANTILES with its interval over requests."""
        return {quantile: self._quantile(quantile) for quantile in QUANTILES}

    def _quantile(self, quantile: float) -> Interval:
        return bootstrap(self.latencies_s[:, None], lambda rows: float(np.quantile(rows, quantile)), resamples=500)


def measure(config: CompareConfig, policy: str, url: str) -> dict[str, Any]:
    """Every N and load, `repeats` times in an order that is shuffled anew: one record for each.

    Raises ServerFailed when a request fails.
    """
    return {"visits": asyncio.run(_visits(config, policy, url))}


async def _visits(config: CompareConfig, policy: str, url: str) -> list[dict[str, Any]]:
    order = random.Random(config.seed)
    cells = [(best_of, clients) for best_of in config.sizes for clients in config.loads]
    world = lab(config.lab, config.lab_options)
    prompts = itertools.cycle(world.prompts(config.prompts, "held_out", seed=config.seed))
    # Nothing asks for a reward: at N = 1 no reward model is needed, and none is paid for.
    fields = {"temperature": 1.0, "max_tokens": world.answer_tokens}
    visits = []
    async with connect(url, clients=config.loads[-1]) as client:
        with Progress() as progress:
            task = progress.add_task(f"{policy}: latency and cost", total=config.repeats * len(cells))
            for _ in range(config.repeats):
                for best_of, clients in order.sample(cells, len(cells)):
                    asked = {**fields, "best_of": best_of}
                    visits.append(await _visit(client, prompts, asked, config.requests, clients))
                    progress.advance(task)
    return visits


async def _visit(
    client: httpx2.AsyncClient, prompts: Iterator[Prompt], fields: Mapping[str, Any], requests: int, clients: int
) -> dict[str, Any]:
    """One cell of one repeat. Its requests have no seed, so that no two answers to a prompt are alike."""

    async def answers(count: int) -> Load:
        return await ask(client, itertools.islice(prompts, count), fields, clients)

    await answers(_WARM_UP)
    before = await scrape(client)
    load = (await answers(requests)).whole(f"best_of {fields['best_of']}, {clients} clients")
    return {
        "best_of": fields["best_of"],
        "clients": clients,
        "latencies_s": load.latencies_s,
        "per_second": load.requests_per_second,
        "tokens": [answer.generated_tokens for answer in load.answers],
        "dollars": [answer.dollars for answer in load.answers],
        "straggler_share": _straggler_share(before, await scrape(client)),
    }


def _straggler_share(before: Scrape, after: Scrape) -> float:
    """Of the time of generation, by the server's own sums, what stragglers took."""

    def grown_s(name: str, **labels: str) -> float:
        return after.total(name, **labels) - before.total(name, **labels)

    generating_s = grown_s("bestofn_stage_duration_seconds_sum", stage="generate")
    return grown_s("bestofn_straggler_seconds_sum") / generating_s if generating_s else 0.0


def cells(policy: str, measured: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[LoadCell]:
    """The repeats of each cell together, by N and load."""
    visits = measured["visits"]
    places = sorted({(visit["best_of"], visit["clients"]) for visit in visits})
    return [_together(policy, [v for v in visits if (v["best_of"], v["clients"]) == place]) for place in places]


def _together(policy: str, visits: Sequence[Mapping[str, Any]]) -> LoadCell:
    every = {name: np.concatenate([visit[name] for visit in visits]) for name in ("latencies_s", "tokens", "dollars")}
    return LoadCell(
        policy=policy,
        best_of=visits[0]["best_of"],
        clients=visits[0]["clients"],
        latencies_s=every["latencies_s"],
        each_dollars=every["dollars"],
        per_second=mean_interval([visit["per_second"] for visit in visits]),
        tokens=float(every["tokens"].mean()),
        straggler_share=float(np.mean([visit["straggler_share"] for visit in visits])),
    )
