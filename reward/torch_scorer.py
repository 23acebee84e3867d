"""The scorer that runs the model with transformers in this process, on a GPU or on the CPU.

The event loop collects what is asked for in one turn; one owned thread batches and computes it; whatever arrives
meanwhile forms the next round. Long texts are tokenised in another thread.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from reward.batching import batches, score_batch
from reward.config import RewardConfig, combine
from reward.conversation import Conversation
from reward.model import load, max_positions, placement, refuse_too_long
from reward.off_loop_template import OffLoopTemplate
from reward.scorer import RewardUnavailable, Score
from reward.template import Prompt, Reply


@dataclass(frozen=True)
class _Item:
    """One answer to score."""

    tokens: list[int]
    loop: asyncio.AbstractEventLoop  # which `done` belongs to
    done: asyncio.Future[Score]


class TorchScorer:
    """Scores with `AutoModelForSequenceClassification`; equal to plain transformers within 1e-5 in float32.

    `device` and `dtype` "auto" mean bfloat16 on a GPU where there is one, float32 on the CPU otherwise.
    `max_batch_tokens` bounds the padded size of one forward pass; one that a GPU's memory does not hold is halved.
    Raises what `reward.model.load` raises.
    """

    def __init__(
        self, path: str | Path, device: str = "auto", dtype: str = "auto", max_batch_tokens: int = 16384
    ) -> None:
        self._model, self.template = load(path, *placement(device, dtype))
        self.config = RewardConfig.of(self._model.config)
        self.max_tokens = max_positions(self._model.config)
        self._max_batch_tokens = max_batch_tokens
        self._off_loop = OffLoopTemplate(self.template)
        self._collected: list[_Item] = []
        self._rounds: queue.SimpleQueue[list[_Item] | None] = queue.SimpleQueue()
        self._failure = _Failure()
        self._thread = threading.Thread(target=self._work, name="reward-model", daemon=True)
        self._thread.start()

    async def prompt(self, conversation: Conversation) -> Prompt:
        """The conversation in the model's template. Raises ValueError when the template refuses it."""
        return await self._off_loop.prompt(conversation)

    async def prefill(self, prompt: Prompt) -> None:
        """Does nothing: this backend keeps no prefix cache."""

    async def score(self, prompt: Prompt, response: Reply, *, finished: bool = True) -> Score:
        """Raises RewardUnavailable, and ValueError for a conversation longer than the model can read.

        Cancelling the call drops the answer if its round has not begun.
        """
        self._failure.check()
        tokens = await self._off_loop.tokens(prompt, response, finished=finished)
        refuse_too_long(tokens, self.max_tokens)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Score] = loop.create_future()
        if not self._collected:
            loop.call_soon(self._submit)
        self._collected.append(_Item(tokens, loop, done))
        return await done

    async def check_health(self) -> None:
        """Raises RewardUnavailable when the worker thread has ended."""
        self._failure.check()

    async def wait_failed(self) -> None:
        """Raises RewardUnavailable as soon as the worker thread ends."""
        await self._failure.wait()

    async def close(self) -> None:
        """End the thread after the round it is computing."""
        self._failure.set("the reward model is closed")
        self._submit()
        self._rounds.put(None)
        await asyncio.to_thread(self._thread.join)

    def _submit(self) -> None:
        items, self._collected = self._collected, []
        if self._failure.reason:
            self._fail(items, RewardUnavailable(self._failure.reason))
        else:
            self._rounds.put(items)

    def _work(self) -> None:
        """The thread: one round after another, until it is closed or the model fails."""
        items: list[_Item] = []
        try:
            while (items := self._next_round()) or not self._failure.reason:
                self._score_round(items)
        except Exception as error:
            self._failure.set(f"the reward model failed: {type(error).__name__}: {error}")
        finally:
            self._failure.set("the reward model's worker has ended")
            while not self._rounds.empty():
                items += self._rounds.get() or []
            self._fail(items, RewardUnavailable(self._failure.reason))

    def _next_round(self) -> list[_Item]:
        """Wait for work and take all that is there; nothing after `close`."""
        rounds = [self._rounds.get()]
        while not self._rounds.empty():
            rounds.append(self._rounds.get())
        return [item for part in rounds if part for item in part]

    def _score_round(self, items: list[_Item]) -> None:
        ready = [item for item in items if not item.done.done()]
        for batch in batches([len(item.tokens) for item in ready], self._max_batch_tokens):
            wanted = [ready[index] for index in batch if not ready[index].done.done()]
            if wanted:
                self._score_batch(wanted)

    def _score_batch(self, wanted: list[_Item]) -> None:
        try:
            outputs = score_batch(self._model, [item.tokens for item in wanted])
        except torch.cuda.OutOfMemoryError as error:
            longest = max(len(item.tokens) for item in wanted)
            reason = f"no memory to score one conversation of up to {longest} tokens: {error}"
            self._fail(wanted, RewardUnavailable(reason))
            return
        for item, raw in zip(wanted, outputs, strict=True):
            reward, rewards = combine(raw, self.config)
            _answer(item, lambda f, s: f.set_result(s), Score(reward, rewards, len(item.tokens), 0))

    def _fail(self, items: list[_Item], error: Exception) -> None:
        for item in items:
            _answer(item, lambda f, e: f.set_exception(e), error)


class _Failure:
    """Why the backend no longer answers; set once, from any thread, and awaited from any event loop."""

    def __init__(self) -> None:
        self.reason = ""
        self._lock = threading.Lock()
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def set(self, reason: str) -> None:
        with self._lock:
            self.reason = self.reason or reason
            for loop, event in self._waiting:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(event.set)

    def check(self) -> None:
        if self.reason:
            raise RewardUnavailable(self.reason)

    async def wait(self) -> None:
        entry = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._waiting.add(entry)
        try:
            if not self.reason:
                await entry[1].wait()
            self.check()
        finally:
            with self._lock:
                self._waiting.discard(entry)


def _answer(item: _Item, deliver: Callable[[asyncio.Future[Score], Any], None], value: Any) -> None:
    """Complete the item's future on its own loop, unless its caller has left."""

    def complete() -> None:
        if not item.done.done():
            deliver(item.done, value)

    if not item.loop.is_closed():
        item.loop.call_soon_threadsafe(complete)
