"""Numbers of a training step that are read without making a GPU wait for them."""

import math
from typing import Any

import torch


class Watched:
    """Numbers on a GPU are read when the next ones are there, so that nobody waits for them; others at once."""

    def __init__(self) -> None:
        self._copies: list[tuple[str, torch.Tensor, Any, int]] = []

    def watch(self, what: str, value: torch.Tensor, step: int) -> list[tuple[str, float, int]]:
        """What can be read now: (what, value, step)."""
        if value.device.type != "cuda":
            return [(what, value.item(), step)]
        ready = self.rest(before=step)
        copy = value.detach().to("cpu", non_blocking=True)
        copied = torch.cuda.Event()
        copied.record()
        self._copies.append((what, copy, copied, step))
        return ready

    def rest(self, before: float = math.inf) -> list[tuple[str, float, int]]:
        """What was watched in earlier steps and is not read yet."""
        ready = [copy for copy in self._copies if copy[3] < before]
        self._copies = [copy for copy in self._copies if copy[3] >= before]
        for _, _, copied, _ in ready:
            copied.synchronize()
        return [(what, copy.item(), step) for what, copy, _, step in ready]
