"""`make bench`: what reranking costs, as ratios measured in turn in one run on one machine.

Two servers run the bundled policy side by side, plain vLLM and ours. Rounds alternate between them, so that a noisy
neighbour hurts both alike; each ratio is the median over rounds with the range of the middle half. Scoring is
measured in this process, the vLLM scorer against padded batches of plain transformers.
"""

import asyncio
import itertools
import os
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from rich.console import Console
from rich.table import Table

from loadtests.bench import contenders
from loadtests.bench.ratio import Ratio
from measuring.client import connect
from measuring.loops import Load
from measuring.questions import ask
from measuring.server_process import QUIET, Command
from training.labs import checkpoint

_ROUNDS = 7
_TOKENS = 64
_CLIENTS, _EACH = 16, 2
_ALONE = 12


async def main() -> None:
    """Measure everything and print one table."""
    async with asked(contenders.plain) as plain, asked(contenders.ours()) as ours:
        ratios = [
            Ratio("N = 1: latency over plain vLLM", await _latency(ours, plain, {}, {}), 1.03, at_most=True),
            Ratio(
                f"N = 1: throughput over plain vLLM, {_CLIENTS} clients",
                await _throughput(ours, plain, {}, {}),
                0.97,
                at_most=False,
            ),
            Ratio(
                "best_of = 8 with rewards: latency over plain n = 8",
                await _latency(ours, plain, {"best_of": 8}, {"n": 8}),
                1.15,
                at_most=True,
            ),
            Ratio(
                f"best_of = 8 with rewards: throughput over plain n = 8, {_CLIENTS} clients",
                await _throughput(ours, plain, {"best_of": 8}, {"n": 8}),
                0.87,
                at_most=False,
            ),
        ]
    scoring = "scoring 64 answers to one prompt: speed over padded batches"
    ratios.append(Ratio(scoring, await _scoring(), 4, at_most=False))
    table = Table("measured", "median", "middle half", "goal", "met", title=f"{_ROUNDS} rounds, {os.cpu_count()} cores")
    for ratio in ratios:
        table.add_row(*ratio.row())
    Console(width=120).print(table)


async def _latency(ours: "Asked", plain: "Asked", our_body: dict[str, Any], plain_body: dict[str, Any]) -> list[float]:
    """Ratios of the median time of one request at a time."""

    async def median_s(side: Asked, body: dict[str, Any]) -> float:
        return statistics.median((await side.load(body, _ALONE)).latencies_s)

    return await _rounds(lambda: median_s(ours, our_body), lambda: median_s(plain, plain_body))


async def _throughput(
    ours: "Asked", plain: "Asked", our_body: dict[str, Any], plain_body: dict[str, Any]
) -> list[float]:
    """Ratios of requests a second with several clients."""

    async def rate(side: Asked, body: dict[str, Any]) -> float:
        return (await side.load(body, _EACH * _CLIENTS, _CLIENTS)).requests_per_second

    return await _rounds(lambda: rate(ours, our_body), lambda: rate(plain, plain_body))


Measure = Callable[[], Awaitable[float]]


async def _rounds(ours: Measure, other: Measure) -> list[float]:
    """One ratio a round; the order changes from round to round. The first round warms up and does not count."""
    ratios = []
    for number in range(_ROUNDS + 1):
        if number % 2:
            mine, theirs = await ours(), await other()
        else:
            theirs, mine = await other(), await ours()
        ratios.append(mine / theirs)
    return ratios[1:]


async def timed(work: Awaitable[Any]) -> float:
    started_s = time.perf_counter()
    await work
    return time.perf_counter() - started_s


# -- servers


class Asked:
    """A server that is asked one sum after another; all answers are equally long."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client
        sums = (f"What is {number % 90 + 10}+21+81?" for number in itertools.count())
        self._prompts = (({"role": "user", "content": text},) for text in sums)

    async def load(self, fields: Mapping[str, Any], requests: int, clients: int = 1) -> Load:
        """So many requests with these fields. Raises ServerFailed where one fails."""
        fixed = {"max_tokens": _TOKENS, "ignore_eos": True}
        load = await ask(self._client, itertools.islice(self._prompts, requests), {**fixed, **fields}, clients)
        return load.whole(f"{self._client.base_url}")


@asynccontextmanager
async def asked(command: Command) -> AsyncIterator[Asked]:
    """Start a server to ask."""
    with contenders.started(command) as server:
        async with connect(server.url, clients=_CLIENTS) as client:
            yield Asked(client)


# -- scoring


async def _scoring() -> list[float]:
    """Speed of the vLLM scorer over padded batches of transformers: 64 answers of 64 tokens, a prompt of 700."""
    os.environ.update(QUIET)
    from vllm.v1.engine.async_llm import AsyncLLM

    from reward.model import load
    from service.settings import Settings
    from service.vllm.bundled import REWARD_ENGINE_ARGS
    from service.vllm.engines import reward_engine_args, scorer_of

    path = checkpoint("arithmetic-reward")
    settings = Settings(reward_model=str(path), reward_engine_args=dict(REWARD_ENGINE_ARGS))
    scorer = await scorer_of(AsyncLLM.from_engine_args(reward_engine_args(settings)))
    model, template = load(path, "cpu")
    numbers = itertools.count()

    def work() -> tuple[Any, list[str]]:
        start = next(numbers)
        prompt = template.prompt([{"role": "user", "content": f"{start:04d}" + "What is 35+21? " * 46}])
        return prompt, [f"{start * 64 + index:08d}" * 8 for index in range(64)]

    async def shared() -> float:
        prompt, answers = work()
        return 64 / await timed(asyncio.gather(*(scorer.score(prompt, answer) for answer in answers)))

    async def padded() -> float:
        prompt, answers = work()
        return 64 / await timed(asyncio.to_thread(_score_padded, model, [template.tokens(prompt, a) for a in answers]))

    try:
        return await _rounds(shared, padded)
    finally:
        await scorer.close()


def _score_padded(model: Any, sequences: list[list[int]], batch: int = 8) -> None:
    """What a user writes: batches of `batch`, padded to the longest, no shared prompt."""
    import torch

    for start in range(0, len(sequences), batch):
        chunk = sequences[start : start + batch]
        length = max(map(len, chunk))
        pad = model.config.pad_token_id
        ids = torch.tensor([sequence + [pad] * (length - len(sequence)) for sequence in chunk])
        mask = torch.tensor([[1] * len(sequence) + [0] * (length - len(sequence)) for sequence in chunk])
        with torch.inference_mode():
            model(input_ids=ids, attention_mask=mask)


if __name__ == "__main__":
    asyncio.run(main())
