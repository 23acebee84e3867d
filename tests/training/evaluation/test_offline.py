"""A reward model and a policy measured by the same answers, with the bundled checkpoints."""

import pytest

from training.evaluation.offline import Answers, policy_in_lab, reward_in_lab


def answers(prompts: int, samples: int, policy: str = "") -> Answers:
    return Answers("arithmetic", prompts=prompts, samples=samples, sampler="transformers", policy=policy)


def test_both_in_a_lab_from_one_set_of_samples() -> None:
    given = answers(12, 6, policy="arithmetic-sft")
    ranked, policy = policy_in_lab(
        given, reward_name="arithmetic-reward", reference="arithmetic-sft", against="arithmetic-sft"
    )
    assert ranked is not None
    curve = ranked.best_of_n
    assert curve is not None
    assert list(curve.gold) == [1, 2, 4, 6]
    assert curve.gold[1].value == pytest.approx(policy.gold.value)
    assert policy.proxy is not None
    assert curve.proxy[1].value == pytest.approx(policy.proxy.value)
    assert policy.kl is not None
    assert policy.kl.value == 0
    assert policy.win_rate is not None
    assert 0.2 < policy.win_rate.wins.value < 0.8
    assert ranked.pairwise.by_label_margin == ()
    assert policy.baselines is None
    beside = ranked.baselines
    assert beside is not None
    assert beside.sizes == [1, 2, 4, 6]
    assert beside.gold["reward model"][4] == curve.gold[4]
    assert beside.gold["random"][4].value == pytest.approx(policy.gold.value)
    assert beside.single["greedy"].value == 1  # the lab's policy makes its mistakes at random around what is right
    assert beside.tokens["random"] == pytest.approx(policy.tokens.value)


def test_a_reward_model_ranks_the_labs_own_policy() -> None:
    report = reward_in_lab("arithmetic-reward", answers(6, 4))
    assert report.data == "4 answers of `arithmetic-sft` to each of 6 held-out prompts of the lab `arithmetic`."
    assert report.best_of_n is not None
    assert list(report.best_of_n.gold) == [1, 2, 4]


def test_a_policy_alone_needs_no_reward_model() -> None:
    ranked, policy = policy_in_lab(answers(3, 2, policy="arithmetic-sft"))
    assert ranked is None
    assert (policy.prompts, policy.samples, policy.proxy) == (3, 2, None)
    assert policy.baselines is not None
    assert "reward model" not in policy.baselines.gold
    assert {"likelihood, mean", "self-certainty", "majority vote", "shortest"} < set(policy.baselines.gold)
