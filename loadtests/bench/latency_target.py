"""`make slo`: what `--slo-p99-ms` is worth at twice the load that fixed N = 16 can bear.

The target is a factor above the p99 of a server with nothing else to do. The load that fixed N just holds is the last
of a rising series at which its p99 is within the target. Twice that load, the same requests at the same times, then
goes in turn to three servers: fixed N; fixed N that takes only as many candidates as it can answer in time and refuses
the rest (the best that admission alone can do); and the controller. Arrivals are an open loop (`open_loop`), questions
are held-out ones of the lab, and gold says which answers are right. Takes about 10 minutes.
"""

import argparse
import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx2
from rich.console import Console
from rich.table import Table

from loadtests.bench import servers
from loadtests.bench.latency_target_summary import Seen, Summary, over_time, quantile, summarize
from loadtests.bench.open_loop import Timed, offer_questions
from measuring.client import connect, drive, rotated
from measuring.estimators import Interval
from measuring.plots import save
from training.data.records import Conversation
from training.labs import lab

_LAB = lab("arithmetic")
_BEST_OF = 16
_MAX_TOKENS = 64
_FACTOR = 4.0
_SHARES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # of the throughput of a full server
_SEARCH_S = 20.0
_ROUNDS = 3
_ROUND_S = 25.0
_TIMES = 2
_CONNECTIONS = 2000

FIXED, REFUSING, CONTROLLED = "fixed N", "fixed N, refusing", "controller"


@dataclass(frozen=True)
class Goal:
    """light_p99_s: with nothing else to do. target_s: what is to be held. rate: requests a second that fixed N holds.

    full_rate: that a full server answers. steps: each load of the search with its p99.
    """

    light_p99_s: float
    target_s: float
    rate: float
    full_rate: float
    steps: Sequence[tuple[float, float]]

    @property
    def max_candidates(self) -> int:
        """As many as a full server answers within the target."""
        return _BEST_OF * max(int(self.full_rate * self.target_s), 1)


def body(prompt: Conversation, seed: int) -> dict[str, Any]:
    """A request for N candidates whose reward is reported even where N has become 1."""
    return {"messages": list(prompt), "best_of": _BEST_OF, "max_tokens": _MAX_TOKENS, "seed": seed, "rerank": {}}


def read(timed: Timed, prompt: Conversation, number: int) -> Seen:
    """One request as it is summarized. number: of its round."""
    answer = timed.answer
    if not answer.ok or answer.body is None:
        return Seen(number, timed.due_s, answer.status)
    text = answer.body["choices"][0]["message"]["content"]
    return Seen(
        round=number,
        due_s=timed.due_s,
        status=answer.status,
        latency_s=timed.latency_s,
        best_of=answer.rerank["best_of"],
        reward=answer.rerank["reward"],
        correct=_LAB.gold(prompt, text) > 0,
    )


async def load(client: httpx2.AsyncClient, rate: float, seconds: float, *, seed: int, number: int = 0) -> list[Seen]:
    """Offer one load. The same seed gives the same questions at the same times."""
    asked = await offer_questions(
        client, _LAB, lambda index, prompt: body(prompt, seed + index), rate, seconds, seed=seed
    )
    return [read(timed, prompt, number) for timed, prompt in asked]


async def find_goal(client: httpx2.AsyncClient, factor: float) -> Goal:
    """What a server with fixed N holds. Raises RuntimeError where it holds none of the loads."""
    prompts = _LAB.prompts(260, "held_out", seed=1)
    bodies = [body(prompt, index) for index, prompt in enumerate(prompts)]
    await drive(client, bodies[:20], 4)
    light_p99_s = quantile((await drive(client, bodies[20:120], 1)).latencies_s, 0.99)
    target_s = factor * light_p99_s
    full_rate = (await drive(client, bodies[120:], 8)).requests_per_second
    steps: list[tuple[float, float]] = []
    for share in _SHARES:
        seen = await load(client, share * full_rate, _SEARCH_S, seed=2)
        steps.append((share * full_rate, quantile([one.latency_s for one in seen if one.latency_s is not None], 0.99)))
        if steps[-1][1] > target_s:
            break
    held = [rate for rate, p99_s in steps if p99_s <= target_s]
    if not held:
        raise RuntimeError(f"fixed N misses {target_s:.2f} s at {steps[0][0]:.2f} requests/s: p99 {steps[0][1]:.2f} s")
    return Goal(light_p99_s, target_s, held[-1], full_rate, steps)


async def duel(clients: Mapping[str, httpx2.AsyncClient], rate: float) -> dict[str, list[Seen]]:
    """The same load for each server in turn; who is first changes from round to round."""
    seen: dict[str, list[Seen]] = {name: [] for name in clients}
    for client in clients.values():  # warms up
        await load(client, rate / _TIMES / 2, 10, seed=3)
    for number in range(_ROUNDS):
        for name in rotated(list(clients), number):
            seen[name] += await load(clients[name], rate, _ROUND_S, seed=100 + number, number=number)
    return seen


async def main(folder: Path, factor: float) -> int:
    """Measure, print, write slo.json and slo.png; the exit status is 1 where a request failed."""
    async with AsyncExitStack() as stack:

        async def start(*options: str) -> httpx2.AsyncClient:
            server = await stack.enter_async_context(servers.started(lambda port: servers.ours(port, options)))
            return await stack.enter_async_context(connect(server.url, clients=_CONNECTIONS))

        fixed = await start()
        goal = await find_goal(fixed, factor)
        limit = str(goal.max_candidates)
        refusing = await start("--max-best-of", str(_BEST_OF), "--max-candidates", limit)
        controlled = await start("--slo-p99-ms", str(round(1000 * goal.target_s)))
        seen = await duel({FIXED: fixed, REFUSING: refusing, CONTROLLED: controlled}, _TIMES * goal.rate)
    summaries = {name: summarize(some, goal.target_s, _ROUND_S) for name, some in seen.items()}
    _write(folder, goal, summaries, seen)
    show(goal, summaries)
    return 1 if any(summary.failed for summary in summaries.values()) else 0


def _write(folder: Path, goal: Goal, summaries: Mapping[str, Summary], seen: dict[str, list[Seen]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "goal": asdict(goal),
        "best_of": _BEST_OF,
        "times": _TIMES,
        "rounds": _ROUNDS,
        "round_s": _ROUND_S,
        "cores": os.cpu_count(),
        "arms": {name: asdict(summary) for name, summary in summaries.items()},
        "requests": {name: [asdict(one) for one in some] for name, some in seen.items()},
    }
    (folder / "slo.json").write_text(json.dumps(record), encoding="utf-8")
    save(over_time(dict(seen), goal.target_s), folder / "slo.png")


def show(goal: Goal, summaries: Mapping[str, Summary]) -> None:
    """The goal, and a column for each server."""
    console = Console(width=130)
    console.print(
        f"Alone, N = {_BEST_OF} takes {goal.light_p99_s:.3f} s (p99); the target is {goal.target_s:.3f} s. "
        f"A full server answers {goal.full_rate:.2f} requests/s; fixed N holds the target at {goal.rate:.2f}. "
        "p99 by load: " + ", ".join(f"{rate:.2f}/s {p99_s:.2f} s" for rate, p99_s in goal.steps)
    )
    title = f"{_TIMES * goal.rate:.2f} requests/s, {_ROUNDS} rounds of {_ROUND_S:.0f} s, {os.cpu_count()} cores"
    table = Table("", *summaries, title=title)
    rows: Mapping[str, tuple[str, int]] = {
        "p50, s": ("p50_s", 3),
        "p99, s": ("p99_s", 3),
        "share answered in time": ("in_time", 3),
        "goodput, answers in time/s": ("goodput", 2),
        "refused (429)": ("refused", 3),
        "N used": ("best_of", 1),
        "reward of answers": ("reward", 3),
        "right answers": ("correct", 3),
    }
    for row, (field, digits) in rows.items():
        values: list[Interval] = [getattr(summary, field) for summary in summaries.values()]
        table.add_row(row, *(value.text(digits) for value in values))
    console.print(table)
    ratio = summaries[CONTROLLED].goodput.value / max(summaries[FIXED].goodput.value, 1e-9)
    console.print(f"goodput of the controller over fixed N: {ratio:.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--output", type=Path, default=Path("runs/slo"), help="folder for slo.json and slo.png")
    parser.add_argument("--factor", type=float, default=_FACTOR, help="the target over the p99 of an idle server")
    given = parser.parse_args()
    raise SystemExit(asyncio.run(main(given.output, given.factor)))
