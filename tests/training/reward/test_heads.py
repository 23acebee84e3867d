"""What a reward model puts out, and the trunk that it starts from."""

from pathlib import Path

import pytest
import torch

from training.data.read import DataError
from training.data.records import Comparison, user
from training.labs.models import fresh_policy
from training.labs.tokenizer import byte_tokenizer
from training.reward import heads
from training.run.config import ConfigError

RATED = Comparison(user("q"), ("a", "b"), scores={"right": (1.0, 0.0), "short": (0.0, 1.0)})


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("policy")
    fresh_policy(byte_tokenizer(), seed=0).save_pretrained(path)
    return str(path)


def test_an_ensemble_has_members_and_other_heads_have_names() -> None:
    assert heads.plan_heads([RATED], loss="pairs") == heads.HeadLayout()
    assert heads.plan_heads([RATED], loss="pairs", ensemble=2).names == ("member-0", "member-1")
    planned = heads.plan_heads([RATED], loss="regression", names=("short",), ensemble=2)
    assert (planned.dimensions, planned.members) == (("short",), 2)


def test_heads_that_contradict_the_data_are_named() -> None:
    with pytest.raises(ConfigError, match="heads: name the scores to learn, of: right, short"):
        heads.plan_heads([RATED], loss="regression")
    with pytest.raises(ConfigError, match="ensemble: takes two members or more"):
        heads.plan_heads([RATED], loss="pairs", ensemble=1)


def test_records_that_teach_nothing_are_left_out() -> None:
    ranked = Comparison(user("q"), ("a", "b"), ranks=(0, 1))
    assert heads.teaching([RATED, ranked], "pairs", heads.HeadLayout()) == [ranked]
    with pytest.raises(DataError, match="none of 1 records holds what loss=pairs learns from"):
        heads.teaching([RATED], "pairs", heads.HeadLayout())


def test_the_score_and_the_added_layers_are_fresh(policy: str) -> None:
    model = heads.reward_model(policy, heads.HeadLayout(), extra_layers=1, seed=0)
    assert heads.fresh_modules(model, 1) == ["model.layers.4", "score"]
    assert heads.fresh_modules(model, 0) == ["score"]


def test_a_scaled_head_gives_rewards_of_variance_one(policy: str) -> None:
    model = heads.reward_model(policy, heads.HeadLayout(), extra_layers=0, seed=0)
    answers = [[index, index + 1, index + 2] for index in range(20)]
    heads.scale_head(model, answers, heads.HeadLayout())
    with torch.no_grad():
        rewards = model(torch.tensor(answers)).logits
    assert rewards.std(unbiased=False).item() == pytest.approx(1, abs=1e-4)


def test_a_trunk_that_lacks_weights_is_refused(tmp_path: Path, policy: str, caplog: pytest.LogCaptureFixture) -> None:
    found = heads.reward_model(policy, heads.HeadLayout(), extra_layers=0, seed=0)
    assert "MISSING" not in caplog.text  # the head is fresh, as it must be
    state = {name: tensor for name, tensor in found.state_dict().items() if "layers.1.mlp.up_proj" not in name}
    found.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(ConfigError, match=r"model: .* lacks the weights model\.layers\.1\.mlp\.up_proj\.weight"):
        heads.reward_model(str(tmp_path), heads.HeadLayout(), extra_layers=0, seed=0)
