"""Which records train together: batches of similar length, so that little of the computation is padding."""

from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from torch.utils.data import Sampler

_POOL_BATCHES = 32  # records are sorted by length within pools of this many batches
# Lengths this close count as equal: sorting by the exact length would sort by content (sums below and above 100), and
# such one-sided batches learn several times slower.
_LENGTH_STEP = 16


class SimilarLengths(Sampler[int]):
    """Record indices in an order whose consecutive groups of `batch_size` have similar lengths.

    lengths: tokens of each record. batch_size: over all processes, so that what they do at the same time takes as long
    and two of them see together what one alone sees in batches twice as large.
    The order depends on the seed and the epoch only, so a resumed run sees the batches that an uninterrupted one sees.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self._lengths, self._batch_size, self._seed, self._epoch = lengths, batch_size, seed, 0

    def __len__(self) -> int:
        return len(self._lengths)

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        return self._order(self._epoch)

    def step_records(self, step: int, accumulation_steps: int) -> list[int]:
        """The records of the optimizer step of that number (from 0), each of which takes so many batches."""
        batches = -(-len(self._lengths) // self._batch_size)
        steps = -(-batches // accumulation_steps)  # the last one of an epoch may be short
        epoch, within = divmod(step, steps)
        together = self._batch_size * accumulation_steps
        return list(islice(self._order(epoch), within * together, (within + 1) * together))

    def _order(self, epoch: int) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + epoch)
        order = torch.randperm(len(self._lengths), generator=generator).tolist()
        pool = _POOL_BATCHES * self._batch_size
        for start in range(0, len(order), pool):
            ranked = sorted(order[start : start + pool], key=lambda index: self._lengths[index] // _LENGTH_STEP)
            batches = [ranked[i : i + self._batch_size] for i in range(0, len(ranked), self._batch_size)]
            # A short batch can only stand last: the sampler yields indices, and the loader cuts them into batches.
            full, short = [b for b in batches if len(b) == self._batch_size], batches[-1:]
            for index in torch.randperm(len(full), generator=generator).tolist():
                yield from full[index]
            if len(short[0]) < self._batch_size:
                yield from short[0]
