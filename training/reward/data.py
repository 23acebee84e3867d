"""Comparisons as token ids and as batches, and where in them each response's reward is read.

`RewardDataset` tokenises every record once, before training. `RewardCollator` lays a batch out: each conversation in a
row of its own, or all responses to a prompt in one row (`tree_attention`). `outputs` runs the model on either and reads
the rewards.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from reward.template import ConversationTemplate
from training.data.records import Comparison, dense_ranks
from training.reward.tree_attention import PADDING, Cost, tree_row
from training.run.checks import check_lengths

Tokens = npt.NDArray[np.int32]
Batch = Mapping[str, torch.Tensor]
ABSENT = -1  # the rank where a prompt has fewer than K responses


@dataclass(frozen=True)
class Group:
    """One comparison in token ids."""

    sequences: tuple[Tokens, ...]
    """The whole conversation with each response."""
    start: int
    """How many first tokens they share, or for a single response how many stand before it."""
    ranks: tuple[int, ...]
    """Empty where nothing was ranked."""
    scores: npt.NDArray[np.float32]
    """[K, dimensions], nan where not given."""
    margin: float
    weights: npt.NDArray[np.float32]
    """One for each member of an ensemble (one where there is none)."""

    @property
    def shared(self) -> int:
        """Tokens that a row can hold once: the last token of each response is always its own."""
        return min(self.start, min(map(len, self.sequences)) - 1)


class RewardDataset(Dataset[Group]):
    """Every comparison in token ids, all made at once, so that nothing can fail later.

    dimensions: of the scores to learn. bagging: [records, members], how often each member of an ensemble sees each.
    source: where they come from, for errors. Raises ValueError where a record is longer than `max_tokens`.
    """

    def __init__(
        self,
        records: Sequence[Comparison],
        template: ConversationTemplate,
        max_tokens: int | None = None,
        source: str = "data",
        *,
        dimensions: Sequence[str] = (),
        bagging: npt.NDArray[np.float32] | None = None,
    ) -> None:
        times = np.ones((len(records), 1), np.float32) if bagging is None else bagging
        self.groups = [
            encode(record, template, dimensions, record.weight * seen)
            for record, seen in zip(records, times, strict=True)
        ]
        if max_tokens is not None:
            check_lengths(self.lengths(), max_tokens, source, lambda index: _beginning(records[index]))

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> Group:
        return self.groups[index]

    def lengths(self) -> list[int]:
        """Tokens of the longest conversation of each record."""
        return [max(map(len, group.sequences)) for group in self.groups]


def encode(
    record: Comparison, template: ConversationTemplate, dimensions: Sequence[str], weights: npt.NDArray[np.float32]
) -> Group:
    """Tokenise one record. Without ranks they come from the mean of the given scores, for evaluation."""
    prompt = template.prompt(record.messages)
    sequences = tuple(np.array(template.tokens(prompt, text), np.int32) for text in record.responses)
    # A second, empty response shows where a single one begins.
    others = sequences[1:] or (np.array(template.tokens(prompt, ""), np.int32),)
    missing = (math.nan,) * len(sequences)
    scores = np.array([record.scores.get(name, missing) for name in dimensions], np.float32).T
    return Group(
        sequences=sequences,
        start=min(first_difference(sequences[0], other) for other in others),
        ranks=record.ranks or _ranks_of(scores),
        scores=scores.reshape(len(sequences), len(dimensions)),
        margin=record.margin,
        weights=weights.astype(np.float32),
    )


def first_difference(first: Tokens, second: Tokens) -> int:
    """How many tokens two sequences share at their beginning."""
    shorter = min(len(first), len(second))
    different = first[:shorter] != second[:shorter]
    return int(different.argmax()) if different.any() else shorter


def bagging_weights(records: int, members: int, seed: int) -> npt.NDArray[np.float32]:
    """How often each member of an ensemble sees each record in place of once, [records, members]: Poisson(1).

    Online bagging (Oza and Russell 2001): in the limit of many records it is drawing as many with replacement.
    """
    counts = [np.random.default_rng([seed, member]).poisson(1.0, records) for member in range(members)]
    return np.stack(counts, axis=1).astype(np.float32)


class RewardCollator:
    """Makes a batch of groups; K is the largest number of responses in it, T the number of compared positions.

    `weight` [groups, members], `margin` [groups], `ranks` [groups, K] (ABSENT where there is no response), `scores`
    [groups, K, dimensions]. `places` [groups, K, T]: where the reward of each response is read in the flattened rows;
    the last one is its end. With `every_position`, T counts the positions from the first at which two responses of the
    group differ to the end of the longest one; a response that has ended stays at its end. `inside` [groups, K, T] is
    true up to the end of each response, `apart` [groups, K, K] is the position at which two responses part.
    `input_ids` [rows, tokens] with `attention_mask`, or with `segments` and `position_ids` where a prompt is shared.
    sharing: the model's costs, by which a batch takes the cheaper layout; None never shares. always: whatever it costs.
    """

    def __init__(
        self, pad_token_id: int, *, every_position: bool, sharing: Cost | None = None, always: bool = False
    ) -> None:
        self._pad_token_id, self._every_position = pad_token_id, every_position
        self._sharing, self._always = sharing, always

    def __call__(self, groups: Sequence[Group]) -> dict[str, torch.Tensor]:
        # `weight` is first: transformers counts the records of a batch by its first tensor.
        batch = {
            "weight": torch.from_numpy(np.stack([group.weights for group in groups])),
            "margin": torch.tensor([group.margin for group in groups]),
            "ranks": _padded([torch.tensor(_ranks(group)) for group in groups], ABSENT),
            "scores": _padded([torch.from_numpy(group.scores) for group in groups], math.nan),
        }
        rows, starts = (self._tree_rows if self._shares(groups) else self._plain_rows)(groups)
        return batch | self._positions(groups, starts) | rows

    def _shares(self, groups: Sequence[Group]) -> bool:
        if self._sharing is None or self._always:
            return self._always
        longest = max(len(s) for group in groups for s in group.sequences)
        plain = self._sharing.of_rows(sum(len(group.sequences) for group in groups), longest)
        return self._sharing.of_rows(len(groups), max(map(_tree_tokens, groups))) < plain

    def _plain_rows(self, groups: Sequence[Group]) -> tuple[dict[str, torch.Tensor], list[list[int]]]:
        sequences = [torch.from_numpy(s) for group in groups for s in group.sequences]
        rows = {
            "input_ids": _padded(sequences, self._pad_token_id).long(),
            "attention_mask": _padded([torch.ones(len(s), dtype=torch.long) for s in sequences], 0),
        }
        width = rows["input_ids"].shape[1]
        numbers = iter(range(len(sequences)))
        return rows, [[next(numbers) * width for _ in group.sequences] for group in groups]

    def _tree_rows(self, groups: Sequence[Group]) -> tuple[dict[str, torch.Tensor], list[list[int]]]:
        trees = [tree_row([s.tolist() for s in group.sequences], group.shared) for group in groups]
        tokens, segments, positions = (list(map(torch.tensor, part)) for part in zip(*trees, strict=True))
        rows = {
            "input_ids": _padded(tokens, self._pad_token_id),
            "segments": _padded(segments, PADDING),
            "position_ids": _padded(positions, 0),
        }
        width = rows["input_ids"].shape[1]
        starts = []
        for number, group in enumerate(groups):
            own = [len(s) - group.shared for s in group.sequences]
            starts.append([number * width + sum(own[:k]) for k in range(len(own))])
        return rows, starts

    def _positions(self, groups: Sequence[Group], starts: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
        """starts: where token t of a response would stand is start + t, for every t that is the response's own."""
        lengths = [torch.tensor([len(s) for s in group.sequences]) for group in groups]
        ends = _padded(lengths, 1) - 1  # [groups, K]
        present = _padded([torch.ones(len(row), dtype=torch.bool) for row in lengths], False)
        origin = _padded([torch.tensor(row) for row in starts], 0)
        if not self._every_position:
            return {"places": (origin + ends)[..., None]}
        first = torch.tensor([group.shared for group in groups])
        span = int((ends - first[:, None] + 1).max())
        at = first[:, None, None] + torch.arange(span)  # [groups, 1, T]
        return {
            "places": origin[..., None] + torch.minimum(at, ends[..., None]).clamp(min=0),
            "inside": (at <= ends[..., None]) & present[..., None],
            "apart": _apart(groups),
        }


def tokens_in(batch: Batch) -> torch.Tensor:
    """How many are not padding; a shared prompt counts once."""
    return (batch["segments"] != PADDING).sum() if "segments" in batch else batch["attention_mask"].sum()


def _beginning(record: Comparison) -> str:
    return str(record.messages[-1].get("content"))


def _ranks(group: Group) -> Sequence[int]:
    return group.ranks or [0] * len(group.sequences)


def _ranks_of(scores: npt.NDArray[np.float32]) -> tuple[int, ...]:
    """By the mean over dimensions; empty where a response lacks one that another has."""
    if not scores.size:
        return ()
    means = scores.mean(axis=1)
    return () if np.isnan(means).any() else dense_ranks((-means).tolist())


def _tree_tokens(group: Group) -> int:
    return group.shared + sum(len(s) - group.shared for s in group.sequences)


def _apart(groups: Sequence[Group]) -> torch.Tensor:
    """[groups, K, K], counted from each group's first position."""
    count = max(len(group.sequences) for group in groups)
    apart = torch.zeros(len(groups), count, count, dtype=torch.long)
    for number, group in enumerate(groups):
        for i, first in enumerate(group.sequences):
            for j, second in enumerate(group.sequences[:i]):
                apart[number, i, j] = apart[number, j, i] = max(0, first_difference(first, second) - group.shared)
    return apart


def _padded(rows: Sequence[torch.Tensor], fill: float) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=fill)
