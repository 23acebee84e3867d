"""Rewards of comparisons' responses, offline."""

import numpy as np
import pytest
import torch

from reward.model import load
from training.data.records import Comparison, user
from training.evaluation import scoring
from training.labs import model_path

QUESTION = user("What is 35+21+81?")
RIGHT, WRONG = "35+21=56\n56+81=137\nAnswer: 137", "35+21=57\n57+81=138\nAnswer: 138"


def test_scores_are_the_checkpoints_own_in_order() -> None:
    drawn = [Comparison(QUESTION, (RIGHT, WRONG)), Comparison(QUESTION, (WRONG,))]
    found = scoring.score(drawn, "arithmetic-reward")
    assert [len(raw) for raw in found.raw] == [2, 1]
    assert found.raw[0][0] > found.raw[0][1] == pytest.approx(found.raw[1][0], abs=1e-5)

    model, template = load(model_path("arithmetic-reward"), device="cpu")
    tokens = template.tokens(template.prompt(QUESTION), RIGHT)
    plain = model(torch.tensor([tokens])).logits.item()
    assert found.raw[0][0] == pytest.approx(plain, abs=1e-5)
    assert found.normalised()[0][0] == pytest.approx((plain - found.mean) / found.std, abs=1e-5)
    assert found.heads[0].shape == (2, 1)


def test_tokens_are_those_of_the_response() -> None:
    found = scoring.score([Comparison(QUESTION, ("1", "12", "123"))], "arithmetic-reward")
    assert np.diff(found.tokens[0]).tolist() == [1.0, 1.0]


def test_a_reward_that_is_not_finite_is_no_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "score_sequences", lambda _, rows: [[float("nan")] for _ in rows])
    with pytest.raises(FloatingPointError, match="1 rewards that are not finite"):
        scoring.score([Comparison(QUESTION, (RIGHT,))], "arithmetic-reward")
