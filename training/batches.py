"""Which records train together: batches of similar length, so that little of the computation is padding."""

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

_POOL_BATCHES = 32  # records are sorted by length within pools of this many batches
# Lengths this close count as equal: sorting by the exact length would sort by content (sums below and above 100), and
# such one-sided batches learn several times slower.
_LENGTH_STEP = 16


class SimilarLengths(Sampler[int]):
    """Record indices in an order whose consecutive groups of `batch_size` have similar lengths.

    The order depends on the seed and the epoch only, so a resumed run sees the batches that an uninterrupted one sees.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self._lengths, self._batch_size, self._seed, self._epoch = lengths, batch_size, seed, 0

    def __len__(self) -> int:
        return len(self._lengths)

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self._epoch)
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
