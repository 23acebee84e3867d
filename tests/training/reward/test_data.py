import math
from typing import Any

import numpy as np
import pytest
import torch

from reward.template import ConversationTemplate
from training.data.records import Comparison, user
from training.labs.tokenizer import byte_tokenizer
from training.reward.data import ABSENT, Group, RewardCollator, RewardDataset, bagging_weights, encode, first_difference
from training.reward.tree_attention import Cost

FREE_ATTENTION, COSTLY_ATTENTION = Cost(linear=1.0, attention=0.0), Cost(linear=1.0, attention=1.0)


def group(*sequences: list[int], start: int, ranks: tuple[int, ...] = (), **changes: Any) -> Group:
    arrays = tuple(np.array(sequence, np.int32) for sequence in sequences)
    values = {"scores": np.empty((len(arrays), 0), np.float32), "margin": 0.0, "weights": np.ones(1, np.float32)}
    return Group(arrays, start, ranks or tuple(range(len(arrays))), **{**values, **changes})


GROUPS = [
    group([1, 2, 3, 4], [1, 2, 9], [1, 2, 3, 8, 5], start=2, ranks=(1, 0, 1), margin=0.5),
    group([1, 5], [1, 6], start=1),
]


@pytest.fixture(scope="module")
def template() -> ConversationTemplate:
    return ConversationTemplate(byte_tokenizer())


def test_a_record_becomes_token_ids(template: ConversationTemplate) -> None:
    scores = {"helpful": (1.0, 3.0), "short": (2.0, math.nan)}
    record = Comparison(user("hi"), ("abc", "abd"), scores=scores, margin=2.0, weight=3.0)
    encoded = encode(record, template, ["helpful"], np.array([3.0], np.float32))
    prompt = template.prompt(record.messages)
    assert [s.tolist() for s in encoded.sequences] == [template.tokens(prompt, text) for text in ("abc", "abd")]
    assert encoded.start == len(template.prompt_tokens(prompt)) + 2
    assert (encoded.ranks, encoded.scores.tolist(), encoded.margin) == ((1, 0), [[1.0], [3.0]], 2.0)
    assert encode(record, template, ["short"], np.ones(1, np.float32)).ranks == ()
    assert np.isnan(encode(record, template, ["kind"], np.ones(1, np.float32)).scores).all()
    assert encode(record, template, [], np.ones(1, np.float32)).scores.shape == (2, 0)


def test_a_single_response_starts_after_its_prompt(template: ConversationTemplate) -> None:
    record = Comparison(user("hi"), ("abc",))
    (encoded,) = RewardDataset([record], template).groups
    assert encoded.start == len(template.prompt_tokens(template.prompt(record.messages)))


def test_weights_are_the_records_own_times_the_members(template: ConversationTemplate) -> None:
    records = [Comparison(user("hi"), ("a", "b"), ranks=(0, 1), weight=w) for w in (1.0, 2.0)]
    bagging = np.array([[0, 1, 2], [3, 0, 1]], np.float32)
    assert [g.weights.tolist() for g in RewardDataset(records, template, bagging=bagging).groups] == [
        [0, 1, 2],
        [6, 0, 2],
    ]
    assert [g.weights.tolist() for g in RewardDataset(records, template).groups] == [[1], [2]]


def test_bagging_is_poisson_and_of_its_own_for_each_member_and_record() -> None:
    weights = bagging_weights(4000, 3, seed=5)
    assert weights.shape == (4000, 3)
    assert weights.mean(0) == pytest.approx(np.ones(3), abs=0.06)
    assert weights.var(0) == pytest.approx(np.ones(3), abs=0.1)
    assert np.abs(np.corrcoef(weights.T) - np.eye(3)).max() < 0.06
    assert np.array_equal(weights[:50, :2], bagging_weights(50, 2, seed=5))
    assert not np.array_equal(weights, bagging_weights(4000, 3, seed=6))


def test_first_difference() -> None:
    a, b, c = (np.array(row, np.int32) for row in ([1, 2, 3], [1, 2], [4, 2]))
    assert [first_difference(a, b), first_difference(b, a), first_difference(a, c), first_difference(a, a)] == [
        2,
        2,
        0,
        3,
    ]


def test_separate_rows() -> None:
    batch = RewardCollator(0, every_position=False)(GROUPS)
    assert next(iter(batch)) == "weight"
    assert batch["input_ids"].tolist() == [
        [1, 2, 3, 4, 0],
        [1, 2, 9, 0, 0],
        [1, 2, 3, 8, 5],
        [1, 5, 0, 0, 0],
        [1, 6, 0, 0, 0],
    ]
    assert batch["attention_mask"].sum(1).tolist() == [4, 3, 5, 2, 2]
    assert batch["places"].tolist() == [[[3], [7], [14]], [[16], [21], [0]]]
    assert batch["ranks"].tolist() == [[1, 0, 1], [0, 1, ABSENT]]
    assert batch["margin"].tolist() == [0.5, 0.0]


@pytest.mark.parametrize("shared", [False, True])
def test_every_position_is_read_up_to_the_end_of_the_longest(shared: bool) -> None:
    batch = RewardCollator(0, every_position=True, always=shared)(GROUPS)
    tokens = batch["input_ids"].flatten()[batch["places"]]
    assert tokens[0].tolist() == [[3, 4, 4], [9, 9, 9], [3, 8, 5]]
    assert tokens[1, :2].tolist() == [[5, 5, 5], [6, 6, 6]]
    assert batch["inside"][0].tolist() == [[True, True, False], [True, False, False], [True, True, True]]
    assert batch["inside"][1].tolist() == [[True, False, False], [True, False, False], [False, False, False]]
    assert batch["apart"].tolist() == [[[0, 0, 1], [0, 0, 0], [1, 0, 0]], [[0] * 3] * 3]
    ends = RewardCollator(0, every_position=False, always=shared)(GROUPS)["places"]
    present = batch["ranks"] != ABSENT
    assert torch.equal(ends[..., -1][present], batch["places"][..., -1][present])


def test_a_shared_prompt_stands_once_in_its_row() -> None:
    batch = RewardCollator(0, every_position=False, always=True)(GROUPS)
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 9, 3, 8, 5], [1, 5, 6, 0, 0, 0, 0, 0]]
    assert batch["segments"].tolist() == [[0, 0, 1, 1, 2, 3, 3, 3], [0, 1, 2, -1, -1, -1, -1, -1]]
    assert batch["position_ids"].tolist()[0] == [0, 1, 2, 3, 2, 2, 3, 4]
    assert batch["places"].tolist() == [[[3], [4], [7]], [[9], [10], [0]]]


def test_a_response_that_begins_another_keeps_a_token_of_its_own() -> None:
    batch = RewardCollator(0, every_position=True, always=True)([group([1, 2], [1, 2, 3], start=2)])
    assert batch["input_ids"].tolist() == [[1, 2, 2, 3]]
    assert batch["places"].tolist() == [[[1, 1], [2, 3]]]


@pytest.mark.parametrize(
    ("sharing", "prompt", "shares"),
    [
        (None, 50, False),
        (FREE_ATTENTION, 50, True),
        (FREE_ATTENTION, 0, False),
        (COSTLY_ATTENTION, 5, False),
        (COSTLY_ATTENTION, 500, True),
    ],
)
def test_a_prompt_is_shared_where_it_pays(sharing: Cost | None, prompt: int, shares: bool) -> None:
    made = group(*([1] * prompt + [index] * 20 for index in range(2, 6)), start=prompt)
    assert ("segments" in RewardCollator(0, every_position=False, sharing=sharing)([made, made])) == shares
