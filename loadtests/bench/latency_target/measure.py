"""`make slo`: what `--slo-p99-ms` is worth at twice the load that fixed N = 16 can bear.

The target is a factor above the p99 of a server with nothing else to do. The load that fixed N just holds is the last
of a rising series at which its p99 is within the target. Twice that load, the same requests at the same times, then
goes in turn to three servers: fixed N; fixed N that takes only as many candidates as it can answer in time and refuses
the rest (the best that admission alone can do); and the controller. Arrivals are an open loop (`measuring.loops`),
questions are held-out ones of the lab, and gold decides which answers are right. Takes about 10 minutes.
"""

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2

from loadtests.bench import contenders
from loadtests.bench.latency_target.report import show, write
from loadtests.bench.latency_target.summary import CONTROLLED, FIXED, REFUSING, Arrival, Goal, Trial
from measuring.answers import Answer
from measuring.client import connect
from measuring.estimators import quantile
from measuring.loops import rotated
from measuring.questions import ask, ask_arriving
from training.data.records import Conversation
from training.labs import lab

_LAB = lab("arithmetic")
_BEST_OF = 16
_FACTOR = 4.0
_SHARES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # of the throughput of a full server
_SEARCH_S = 20.0
_ROUNDS = 3
_ROUND_S = 25.0
_TIMES = 2
_CONNECTIONS = 2000

# N candidates, whose reward is reported even where N has become 1.
_FIELDS: Mapping[str, Any] = {"best_of": _BEST_OF, "max_tokens": 64, "rerank": {}}


def read(answer: Answer, prompt: Conversation, number: int) -> Arrival:
    """One request as it is summarised. number: of its round."""
    if not answer.ok:
        return Arrival(number, answer.due_s, answer.status)
    return Arrival(
        round=number,
        due_s=answer.due_s,
        status=answer.status,
        latency_s=answer.latency_s,
        best_of=answer.rerank["best_of"],
        reward=answer.rerank["reward"],
        correct=_LAB.gold(prompt, answer.text) > 0,
    )


async def load(client: httpx2.AsyncClient, rate: float, seconds: float, *, seed: int, number: int = 0) -> list[Arrival]:
    """Offer one load. The same seed gives the same questions at the same times."""
    asked = await ask_arriving(client, _LAB, _FIELDS, rate, seconds, seed=seed)
    return [read(answer, prompt, number) for answer, prompt in asked]


async def find_goal(client: httpx2.AsyncClient, factor: float) -> Goal:
    """What a server with fixed N holds. Raises RuntimeError where it holds none of the loads."""
    prompts = _LAB.prompts(260, "held_out", seed=1)
    await ask(client, prompts[:20], _FIELDS, 4, seed=0)
    light_p99_s = quantile((await ask(client, prompts[20:120], _FIELDS, 1, seed=1)).latencies_s, 0.99)
    target_s = factor * light_p99_s
    full_rate = (await ask(client, prompts[120:], _FIELDS, 8, seed=2)).requests_per_second
    steps: list[tuple[float, float]] = []
    for share in _SHARES:
        seen = await load(client, share * full_rate, _SEARCH_S, seed=2)
        steps.append((share * full_rate, quantile([one.latency_s for one in seen if one.latency_s is not None], 0.99)))
        if steps[-1][1] > target_s:
            break
    held = [rate for rate, p99_s in steps if p99_s <= target_s]
    if not held:
        raise RuntimeError(f"fixed N misses {target_s:.2f} s at {steps[0][0]:.2f} requests/s: p99 {steps[0][1]:.2f} s")
    return Goal(_BEST_OF, light_p99_s, target_s, held[-1], full_rate, steps)


async def duel(clients: Mapping[str, httpx2.AsyncClient], rate: float) -> dict[str, Sequence[Arrival]]:
    """The same load for each server in turn; who is first changes from round to round."""
    seen: dict[str, list[Arrival]] = {name: [] for name in clients}
    for client in clients.values():  # warms up
        await load(client, rate / _TIMES / 2, 10, seed=3)
    for number in range(_ROUNDS):
        for name in rotated(list(clients), number):
            seen[name] += await load(clients[name], rate, _ROUND_S, seed=100 + number, number=number)
    return {**seen}


async def main(folder: Path, factor: float) -> int:
    """Measure, print, write slo.json and slo.png; the exit status is 1 where a request failed."""
    async with AsyncExitStack() as stack:

        async def start(*options: str) -> httpx2.AsyncClient:
            server = stack.enter_context(contenders.started(contenders.ours(options)))
            return await stack.enter_async_context(connect(server.url, clients=_CONNECTIONS))

        fixed = await start()
        goal = await find_goal(fixed, factor)
        limit = str(goal.max_candidates)
        refusing = await start("--max-best-of", str(_BEST_OF), "--max-candidates", limit)
        controlled = await start("--slo-p99-ms", str(round(1000 * goal.target_s)))
        seen = await duel({FIXED: fixed, REFUSING: refusing, CONTROLLED: controlled}, _TIMES * goal.rate)
    trial = Trial(goal, _TIMES, _ROUNDS, _ROUND_S, seen)
    write(folder, trial)
    show(trial)
    return 1 if any(summary.failed for summary in trial.summaries.values()) else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--output", type=Path, default=Path("runs/slo"), help="folder for slo.json and slo.png")
    parser.add_argument("--factor", type=float, default=_FACTOR, help="the target over the p99 of an idle server")
    given = parser.parse_args()
    raise SystemExit(asyncio.run(main(given.output, given.factor)))
