import math
from pathlib import Path

import pytest

from bestofn_server import load_reward_model
from training.labs import checkpoint

QUESTION = {"role": "user", "content": "What is 35+21+81?"}
ANSWERS = ["35+21=56\n56+81=137\nAnswer: 137", "Answer: 12"]
CONVERSATIONS = [[QUESTION, {"role": "assistant", "content": answer}] for answer in ANSWERS]


@pytest.mark.parametrize("name", ["arithmetic-reward", checkpoint("arithmetic-reward")])
def test_a_reward_model_goes_by_its_name_or_its_folder(name: str | Path) -> None:
    right, wrong = load_reward_model(name, device="cpu").score(CONVERSATIONS)
    assert right.reward > wrong.reward
    assert math.isfinite(wrong.reward)


def test_a_policy_is_no_reward_model() -> None:
    with pytest.raises(ValueError, match="is not a reward model"):
        load_reward_model("arithmetic-sft")


def test_an_unknown_dtype_is_an_error() -> None:
    with pytest.raises(ValueError, match="dtype: must be auto or a torch dtype"):
        load_reward_model("arithmetic-reward", dtype="float17")
