"""The servers that `make bench-peers` compares: how each is started, on which cores, and how it is asked for N."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from loadtests.bench import contenders
from loadtests.bench.peers.summary import OURS, PLAIN, Setup
from measuring.server_process import QUIET, Command, free_port, running, until_ready
from training.labs import checkpoint, lab

LAB = lab("arithmetic")
MODEL = "arithmetic"
REWARD_MODEL = checkpoint("arithmetic-reward")
_PEERS = Path(__file__).parent
_ENGINE = {"enforce-eager": True, "block-size": 32, "kv-cache-memory-bytes": 256 * 2**20}
_SAMPLING = json.dumps({"temperature": 1.0, "max_new_tokens": LAB.answer_tokens})


@contextmanager
def started(options: argparse.Namespace, folder: Path) -> Iterator[tuple[list[Setup], str]]:
    """Start every server, engines at the same time; gives what is to be measured, bestofn first, and the address of the
    reward model that the others ask.

    options: of `loadtests.bench.peers.measure`. folder: for what servers print.
    """
    with ExitStack() as stack:

        def start(name: str, command: Command, **environment: str) -> tuple[str, Callable[[], None]]:
            port, log = free_port(), folder / f"{name}.log"
            process = stack.enter_context(running(command(port), log, environment=QUIET | environment))
            url = f"http://127.0.0.1:{port}"
            return url, lambda: until_ready(f"{url}/{'ready' if name == OURS else 'health'}", process, log)

        first, second = _core_halves()
        generator, generator_ready = start("generator", _generator, **first)
        reward, reward_ready = start("reward", _reward, **second)
        ours, ours_ready = start(OURS, contenders.ours(["--override-generation-config", _SAMPLING]))
        for ready in (generator_ready, reward_ready, ours_ready):
            ready()
        setups = [
            Setup(OURS, ours, {"best_of": options.best_of}),
            Setup(PLAIN, generator, {"n": options.best_of}, ranks=False),
        ]
        budget = {"budget": options.best_of}
        if options.its_hub:
            scored, _ = start("its_hub", lambda port: _its_hub(options.its_hub, port, generator, reward))
            limited, _ = start("limited", lambda port: _its_hub(options.its_hub, port, generator, reward, calls=32))
            free, _ = start("free", lambda port: _its_hub(options.its_hub, port, generator))
            setups += [Setup("its_hub", scored, budget), Setup("its_hub, limit of 32", limited, budget)]
            setups.append(Setup("its_hub, no scoring", free, budget, ranks=False))
        if options.optillm:
            key = {"OPENAI_API_KEY": "none"}
            rated, _ = start("optillm", lambda port: _optillm(options.optillm, port, generator, options.best_of), **key)
            setups.append(Setup("optillm", rated, {"model": f"bon-{MODEL}"}))
        yield setups, reward


def _vllm(port: int, model: str, **options: Any) -> list[str]:
    given = {"model": str(checkpoint(model)), "dtype": "float32", **_ENGINE, **options, "port": port}
    flags = [f"--{name}" if value is True else f"--{name}={value}" for name, value in given.items()]
    entry = "vllm.entrypoints.launchers.api_server.entry"
    return [sys.executable, "-m", entry, "--disable-uvicorn-access-log", *flags]


def _generator(port: int) -> list[str]:
    template = {"chat-template": _PEERS / "optillm_chat_template.jinja", "chat-template-content-format": "string"}
    sampling = {"override-generation-config": _SAMPLING}
    return _vllm(port, "arithmetic-sft", **{"served-model-name": MODEL}, **template, **sampling)


def _reward(port: int) -> list[str]:
    return _vllm(port, "arithmetic-reward", runner="pooling")


def _its_hub(python: str, port: int, generator: str, reward: str = "", calls: int = -1) -> list[str]:
    given = ["--port", str(port), "--vllm-url", generator, "--model", MODEL, "--max-concurrency", str(calls)]
    scorer = ["--reward-url", reward, "--reward-model", str(REWARD_MODEL)] if reward else []
    return [str(Path(python).expanduser()), str(_PEERS / "its_hub_server.py"), *given, *scorer]


def _optillm(python: str, port: int, generator: str, best_of: int) -> list[str]:
    given = ["--port", str(port), "--base-url", f"{generator}/v1", "--best-of-n", str(best_of)]
    return [str(Path(python).expanduser().with_name("optillm")), *given, "--no-ssl-verify", "--log", "error"]


def _core_halves() -> tuple[dict[str, str], dict[str, str]]:
    """The environments that give two engines half of the cores each, as bestofn does; nothing on a GPU."""
    cores = [str(core) for core in sorted(os.sched_getaffinity(0))]
    if torch.accelerator.is_available() or len(cores) < 2:
        return {}, {}
    name, middle = "VLLM_CPU_OMP_THREADS_BIND", len(cores) // 2
    return {name: ",".join(cores[:middle])}, {name: ",".join(cores[middle:])}
