"""`make bench-peers`: bestofn beside two other best-of-N servers and plain vLLM, in turn in one run on one machine.

The other servers live in environments of their own, which are made outside this one and named by their python:

    python3.11 -m venv ~/its-hub && ~/its-hub/bin/pip install "its_hub[iaas]==1.2.0" jinja2 uvloop httptools
    python3.11 -m venv ~/optillm && ~/optillm/bin/pip install optillm==0.4.0
    make bench-peers ARGS="--its-hub ~/its-hub/bin/python --optillm ~/optillm/bin/python --output peers.json"

Everybody uses this environment's vLLM with the same options. One plain server generates for the others, and is itself
measured with n and no scoring; another, `runner=pooling`, holds the reward model for its_hub. Each has the half of the
cores that bestofn's engine of that kind has. All clients wait for an answer before they ask the next question; all
servers get the same questions, sampling settings (from vLLM's command line, since its_hub forwards none) and N.

- bestofn: best_of in the request, the bundled reward model. Measured at both ends of each round.
- its_hub: its own server and its own best-of-n, which its server cannot be configured for (see
  `peers/its_hub_server.py`). The same reward model over HTTP, one call with all distinct answers to a question, under
  uvloop; without a limit of calls at a time, and with the 32 that its server starts with and has no option for. Also
  with a scorer that costs nothing, and so picks the first answer.
- optillm: approach `bon`. It asks for all N answers in one call and then the model itself to rate them one after
  another; it takes no other scorer. vLLM gives it a chat template that leaves out what it adds to a question and makes
  a rating one token long (`peers/optillm_chat_template.jinja`). Without TLS verification, which here only
  costs time. The policy is no judge: what optillm picks is chance, what it costs is not.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx2
import torch
from rich.console import Console

from loadtests.bench.peers import contenders
from loadtests.bench.peers.contenders import LAB, MODEL, REWARD_MODEL
from loadtests.bench.peers.report import table, verdict
from loadtests.bench.peers.summary import OURS, Setup, SetupRound, summarise
from measuring.client import connect
from measuring.loops import Load
from measuring.questions import ask
from measuring.strict_json import strict_json
from training.data.records import Conversation

_WARM_UP = 32
_SAME_REWARD = 1e-3


def main() -> None:
    """Measure everything, print one table, write one record."""
    options = _options(sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder, contenders.started(options, Path(folder)) as (setups, reward):
        asyncio.run(_same_rewards(setups[0].url, reward))
        rounds = asyncio.run(_measure(setups, options))
    summaries = [summarise(setup, rounds) for setup in setups]
    title = f"N = {options.best_of}, {options.clients} clients, {options.rounds} rounds of {options.requests} requests"
    console = Console(width=190)
    console.print(table(summaries, title))
    console.print(verdict(summaries))
    if options.output:
        record = _conditions(options) | {
            "summaries": [asdict(summary) for summary in summaries],
            "rounds": [{name: list(map(asdict, measured)) for name, measured in one.items()} for one in rounds],
        }
        options.output.write_text(strict_json(record), encoding="utf-8")


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--its-hub", metavar="PYTHON", help="of the environment with its_hub; left out without it")
    parser.add_argument("--optillm", metavar="PYTHON", help="of the environment with optillm; left out without it")
    parser.add_argument("--best-of", type=int, default=8, help="N, for everybody")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--requests", type=int, default=96, help="to each server in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1, help="of the questions")
    parser.add_argument("--output", type=Path, help="a JSON record of the table")
    options = parser.parse_args(arguments)
    for name in ("best_of", "clients", "requests", "rounds"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')}: must be at least 1, got {getattr(options, name)}")
    for name in ("its_hub", "optillm"):
        python = getattr(options, name)
        if python and not Path(python).expanduser().exists():
            parser.error(f"--{name.replace('_', '-')}: there is no {python}")
    return options


async def _same_rewards(ours: str, reward: str) -> None:
    """Ask both reward engines about the same answers. Raises RuntimeError where they disagree."""
    prompts = LAB.prompts(1, "held_out", seed=0)
    scale = json.loads((REWARD_MODEL / "config.json").read_text(encoding="utf-8"))["bestofn"]
    async with connect(ours, clients=1) as client, connect(reward, clients=1) as pooling:
        load = await ask(client, prompts, {"best_of": 4, "rerank": {"return_candidates": True}}, 1)
        for candidate in load.whole(OURS).answers[0].rerank["candidates"]:
            messages = [*prompts[0], {"role": "assistant", "content": candidate["text"]}]
            asked = {"messages": messages, "use_activation": False}
            data = (await pooling.post("/classify", json=asked)).raise_for_status().json()["data"]
            raw = candidate["reward"] * scale["std"] + scale["mean"]
            if abs(data[0]["probs"][0] - raw) > _SAME_REWARD:
                raise RuntimeError(f"bestofn's raw score of an answer is {raw}, the pooling server's {data[0]}")


async def _measure(setups: Sequence[Setup], options: argparse.Namespace) -> list[dict[str, list[SetupRound]]]:
    """Rounds of measurements by setup. In each bestofn comes first and again last."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(setup.url, clients=options.clients)) for setup in setups]
        turns = [*zip(setups, clients, strict=True), (setups[0], clients[0])]
        warm_up = LAB.prompts(_WARM_UP, "held_out", seed=options.seed + 1)
        for setup, client in turns[:-1]:
            await _until_listening(client)
            await ask(client, warm_up, _fields(setup), options.clients)
        rounds = []
        for number, prompts in enumerate(_questions(options), start=1):
            measured: dict[str, list[SetupRound]] = {setup.name: [] for setup in setups}
            for setup, client in turns:
                load = await ask(client, prompts, _fields(setup), options.clients)
                measured[setup.name].append(SetupRound.of(load, prompts, LAB))
                _note(number, setup, load)
            rounds.append(measured)
    return rounds


def _note(number: int, setup: Setup, load: Load) -> None:
    errors = sorted({answer.error for answer in load.answers if answer.error})
    rate = f"{load.requests_per_second:.2f} requests/s"
    print(f"round {number}, {setup.name}: {rate}", *errors, sep="; ", file=sys.stderr, flush=True)


async def _until_listening(client: httpx2.AsyncClient) -> None:
    """Any answer will do: its_hub has no health check."""
    async with asyncio.timeout(120):
        while True:
            try:
                await client.get("/v1/models")
                return
            except httpx2.TransportError:
                await asyncio.sleep(0.5)


def _questions(options: argparse.Namespace) -> list[list[Conversation]]:
    """Every round has questions of its own, so that no answer to them is in a prefix cache."""
    prompts = LAB.prompts(options.rounds * options.requests, "held_out", seed=options.seed)
    return [prompts[start : start + options.requests] for start in range(0, len(prompts), options.requests)]


def _fields(setup: Setup) -> dict[str, Any]:
    """Of every request to a server."""
    return {"model": MODEL, "max_tokens": LAB.answer_tokens, "temperature": 1.0, **setup.fields}


def _conditions(options: argparse.Namespace) -> dict[str, Any]:
    """What else is needed to read the figures. load_average: of the machine, over the last 15 minutes."""
    given = {name: getattr(options, name) for name in ("best_of", "clients", "requests", "rounds", "seed")}
    machine = {"cores": len(os.sched_getaffinity(0)), "load_average": os.getloadavg()[2], "torch": torch.__version__}
    return given | machine


if __name__ == "__main__":
    main()
