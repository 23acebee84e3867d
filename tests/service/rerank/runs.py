"""What tests of runs share: waiting for one, leaving it, and how its candidates stand."""

import asyncio
from typing import Any

from service.rerank.run import Run
from tests.service.fakes import PATIENCE_S, cancelled


async def leave(run: Run, waiting: "asyncio.Task[Any]") -> None:
    """As a client does whose request is then closed."""
    await cancelled(waiting)
    await asyncio.wait([run.close()], timeout=PATIENCE_S)


async def best(run: Run, within_s: float = PATIENCE_S) -> tuple[int, ...]:
    async with asyncio.timeout(within_s):
        return await run.best()


def states(run: Run) -> list[str]:
    return [candidate.state for candidate in run.ledger.candidates]
