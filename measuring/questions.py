"""A lab's questions as requests for chat completions, asked in a closed or in an open loop."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol

import httpx2

from measuring.answers import Answer, Json
from measuring.loops import Load, arrivals, drive, offer

SEED_STEP = 1000  # candidate k of a request is sampled with its seed + k

Prompt = tuple[Mapping[str, Any], ...]  # messages up to the assistant's turn


class World(Protocol):
    """Where questions come from: one of `training.labs`."""

    def prompts(self, count: int, split: Literal["held_out"], *, seed: int) -> Sequence[Prompt]:
        """`count` different ones; the same seed gives the same."""


def bodies(prompts: Iterable[Prompt], fields: Mapping[str, Any], *, seed: int | None = None) -> Iterator[Json]:
    """A request for each prompt. fields: what all of them have.

    Question i is asked with seed + SEED_STEP i, so that no two candidates share one; without `seed` none has any.
    """
    for number, prompt in enumerate(prompts):
        own = {} if seed is None else {"seed": seed + SEED_STEP * number}
        yield {"messages": list(prompt), **own, **fields}


async def ask(
    client: httpx2.AsyncClient,
    prompts: Iterable[Prompt],
    fields: Mapping[str, Any],
    clients: int,
    *,
    seed: int | None = None,
    answered: Callable[[Answer], None] | None = None,
    tries: int = 1,
) -> Load:
    """Ask every prompt in a closed loop, see `bodies` and `drive`."""
    return await drive(client, bodies(prompts, fields, seed=seed), clients, answered=answered, tries=tries)


async def ask_arriving(
    client: httpx2.AsyncClient, world: World, fields: Mapping[str, Any], rate: float, seconds: float, *, seed: int
) -> list[tuple[Answer, Prompt]]:
    """Ask held-out prompts in an open loop, as they arrive: `rate` a second, for so many seconds.

    The same seed gives the same prompts at the same times. See `bodies` and `offer`.
    """
    due_s = list(arrivals(rate, seconds, seed=seed))
    prompts = world.prompts(len(due_s), "held_out", seed=seed)
    load = await offer(client, bodies(prompts, fields, seed=seed), due_s)
    return list(zip(load.answers, prompts, strict=True))
