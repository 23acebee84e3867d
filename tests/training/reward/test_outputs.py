"""Rewards with a shared prompt are those of separate rows, and every loss at prefixes is what its words say."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from training.reward.data import Group, RewardCollator
from training.reward.losses import objective
from training.reward.outputs import PositionRewards, prompt_sharing, sharing_error
from training.reward.tree_attention import obstacle
from training.run.config import ConfigError

SMALL = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "num_labels": 2,
}


def tiny(kind: str, attention: str = "sdpa", **changes: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "bos_token_id": None, "eos_token_id": None}
    settings = {**SMALL, **(sizes if kind in ("gpt2", "bloom") else {}), **changes}
    config = AutoConfig.for_model(kind, **settings)
    model: PreTrainedModel = AutoModelForSequenceClassification.from_config(config, attn_implementation=attention)
    model.eval()
    return model


def groups(seed: int = 0, *, ranked: bool = True) -> list[Group]:
    """Groups of 1 to 4 responses with prompts and responses of several lengths."""
    rng = np.random.default_rng(seed)
    made = []
    for count in (3, 2, 4):
        prompt = rng.integers(1, 40, rng.integers(3, 9))
        tails = [rng.integers(1, 40, rng.integers(2, 8)) for _ in range(count)]
        tails[-1][0] = tails[0][0]
        sequences = tuple(np.concatenate([prompt, tail]).astype(np.int32) for tail in tails)
        scores = rng.normal(size=(count, 2)).astype(np.float32)
        scores[0, 1] = math.nan
        ranks = tuple(int(rank) for rank in rng.permutation(count)) if ranked else ()
        # The first tokens after the prompt may happen to be equal in all.
        start = next(i for i in range(99) if len({tuple(s[: i + 1].tolist()) for s in sequences}) > 1)
        made.append(Group(sequences, start, ranks, scores, 0.25 * count, np.ones(1, np.float32)))
    return made


@pytest.mark.parametrize(
    "model", [("llama", "sdpa"), ("llama", "eager"), ("gpt2", "sdpa"), ("qwen2", "sdpa"), ("mistral", "eager")]
)
@pytest.mark.parametrize("loss", ["pairs", "regression"])
def test_a_shared_prompt_changes_neither_rewards_nor_gradients(model: tuple[str, str], loss: str) -> None:
    network = tiny(*model)
    read = PositionRewards(network)
    rewards, gradients = [], []
    for shared in (False, True):
        batch = RewardCollator(0, every_position=True, always=shared)(groups())
        assert ("segments" in batch) == shared
        network.zero_grad()
        outputs = read(network, batch)
        objective(loss, outputs, batch, every_position_weight=0.5).sum().backward()
        rewards.append(outputs[:, batch["inside"]])
        gradients.append([p.grad for p in network.parameters() if p.grad is not None])
    assert torch.allclose(rewards[0], rewards[1], atol=1e-5)
    for separate, shared_gradient in zip(*gradients, strict=True):
        assert torch.allclose(separate, shared_gradient, atol=1e-5)


def test_rewards_at_the_ends_are_those_of_the_plain_model() -> None:
    network = tiny("llama")
    for shared in (False, True):
        batch = RewardCollator(0, every_position=False, always=shared)(groups())
        outputs = PositionRewards(network)(network, batch)[..., -1]
        for number, group in enumerate(groups()):
            for k, sequence in enumerate(group.sequences):
                alone = network(torch.from_numpy(sequence)[None].long()).logits[0]
                assert torch.allclose(outputs[:, number, k], alone, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        ("mistral", {"sliding_window": 16}, "window of 16"),
        ("llama", {"attention": "flex_attention"}, "takes no mask"),
        ("bloom", {"attention": "eager"}, "rewards change"),
    ],
)
def test_a_model_that_cannot_share_prompts_says_why(kind: str, changes: dict[str, Any], reason: str) -> None:
    network = tiny(kind, **changes)
    assert prompt_sharing(network, "auto", 64) is None
    with pytest.raises(ConfigError, match=f"share_prompt: this model cannot.*{reason}"):
        prompt_sharing(network, "always", 64)


def test_layers_that_are_not_attention_stand_in_the_way() -> None:
    network = tiny("llama")
    network.config.layer_types = ["full_attention", "linear_attention"]
    assert "linear_attention" in obstacle(network, 64)


def test_a_model_that_can_share_prompts_is_left_as_it_was() -> None:
    network = tiny("llama").train()
    assert prompt_sharing(network, "auto", 64) is not None
    assert prompt_sharing(network, "never", 64) is None
    assert sharing_error(network) < 1e-5
    assert network.training
    assert not network.score._forward_hooks
    window = tiny("mistral", sliding_window=64)
    assert prompt_sharing(window, "auto", 64) is not None


def prefixes(group: Group, rewards: torch.Tensor, collated: dict[str, torch.Tensor]) -> dict[int, list[torch.Tensor]]:
    """By position in the conversation: the reward of each response there, or at its end where that comes first."""
    span = collated["places"].shape[-1]
    return {group.start + t: [rewards[k, t] for k in range(len(group.sequences))] for t in range(span)}


@pytest.mark.parametrize("loss", ["pairs", "best_of_k", "plackett_luce"])
def test_prefix_losses_against_loops(loss: str) -> None:
    for group in groups(1):
        batch = RewardCollator(0, every_position=True)([group])
        rewards = torch.randn(1, 1, *batch["places"].shape[1:])
        at = prefixes(group, rewards[0, 0], batch)
        ends = [len(s) - 1 for s in group.sequences]
        span = [t for t in at if t <= max(ends)]

        def pair(t: int, i: int, j: int, at: Any = at, group: Group = group) -> float:
            return math.log1p(math.exp(-(at[t][i] - at[t][j] - group.margin).item()))

        def ranking(t: int, at: Any = at, group: Group = group) -> float:
            exps = [reward.exp().item() for reward in at[t]]
            order = np.argsort(group.ranks)[: 1 if loss == "best_of_k" else None]
            below = [sum(e for e, rank in zip(exps, group.ranks, strict=True) if rank >= group.ranks[i]) for i in order]
            return sum(math.log(among / exps[i]) for among, i in zip(below, order, strict=True))

        if loss == "pairs":
            each: list[tuple[float, float]] = []
            for i in range(len(ends)):
                for j in range(len(ends)):
                    if group.ranks[i] < group.ranks[j]:
                        a, b = (group.sequences[k].tolist() for k in (i, j))
                        parted = [t for t in range(max(ends[i], ends[j]) + 1) if a[: t + 1] != b[: t + 1]]
                        each.append((float(np.mean([pair(t, i, j) for t in parted])), pair(max(ends), i, j)))
            at_prefixes, at_ends = np.mean(each, axis=0)
        else:
            at_prefixes, at_ends = np.mean([ranking(t) for t in span]), ranking(max(span))
        assert objective(loss, rewards, batch, 0.0).item() == pytest.approx(at_ends, rel=1e-4)
        expected = (at_ends + 3 * at_prefixes) / 4
        assert objective(loss, rewards, batch, 3.0).item() == pytest.approx(expected, rel=1e-4)


def test_regression_is_the_mean_over_the_scores_that_were_given() -> None:
    made = groups()
    batch = RewardCollator(0, every_position=False)(made)
    rewards = torch.randn(2, len(made), 4, 1)
    losses = objective("regression", rewards, batch, 0.0)
    assert losses.shape == (1, len(made))
    for number, group in enumerate(made):
        own = rewards[:, number, : len(group.sequences), 0].T.numpy()
        assert losses[0, number].item() == pytest.approx(np.nanmean((own - group.scores) ** 2), rel=1e-5)


def test_members_of_an_ensemble_learn_the_same_score_each() -> None:
    made = groups()
    batch = RewardCollator(0, every_position=True)(made)
    batch["scores"] = batch["scores"][..., :1]
    rewards = torch.randn(3, *batch["places"].shape)
    together = objective("regression", rewards, batch, 1.0)
    alone = torch.cat([objective("regression", rewards[[member]], batch, 1.0) for member in range(3)])
    assert together.shape == (3, len(made))
    assert torch.allclose(together, alone)


def test_regression_at_prefixes_is_over_a_response_s_own_positions() -> None:
    (group,) = groups()[1:2]
    batch = RewardCollator(0, every_position=True)([group])
    batch["scores"] = batch["scores"][..., :1]
    rewards = torch.randn(1, *batch["places"].shape)
    each = []
    for k, sequence in enumerate(group.sequences):
        own = rewards[0, 0, k, : len(sequence) - group.start].numpy()
        each.append([np.mean((own - group.scores[k, 0]) ** 2), (own[-1] - group.scores[k, 0]) ** 2])
    at_prefixes, at_ends = np.mean(each, axis=0)
    # A response that has ended stays at its end.
    for k, sequence in enumerate(group.sequences):
        rewards[0, 0, k, len(sequence) - group.start :] = rewards[0, 0, k, len(sequence) - group.start - 1]
    assert objective("regression", rewards, batch, 1.0).item() == pytest.approx((at_prefixes + at_ends) / 2, rel=1e-5)
