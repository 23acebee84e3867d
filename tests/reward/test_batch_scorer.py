import asyncio
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from reward.batch_scorer import BatchScorer
from reward.torch_scorer import TorchScorer
from tests.reward.conftest import tiny_reward_model

PROMPT = [{"role": "system", "content": "Show your steps."}, {"role": "user", "content": "What is 1+1?"}]
ANSWERS = ["1+1=2\nAnswer: 2", "3", "", "café " * 10]


def conversations(answers: Sequence[str]) -> list[list[dict[str, str]]]:
    return [[*PROMPT, {"role": "assistant", "content": answer}] for answer in answers]


async def server_scores(path: Path, answers: Sequence[str]) -> list[Any]:
    scorer = TorchScorer(path)
    prompt = scorer.template.prompt(PROMPT)
    scores = await asyncio.gather(*(scorer.score(prompt, answer) for answer in answers))
    await scorer.close()
    return scores


@pytest.mark.parametrize("max_batch_tokens", [1, 16384])
async def test_gives_the_rewards_that_the_server_gives(checkpoint: Path, max_batch_tokens: int) -> None:
    scores = BatchScorer(checkpoint, max_batch_tokens=max_batch_tokens).score(conversations(ANSWERS))
    served = await server_scores(checkpoint, ANSWERS)
    assert [score.reward for score in scores] == pytest.approx([score.reward for score in served], abs=1e-5)
    assert [score.tokens for score in scores] == [score.tokens for score in served]
    assert all(score.rewards == {} for score in scores)


async def test_heads_are_named_and_their_mean_is_normalised(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    about = {"heads": ["helpful", "short"], "mean": 0.3, "std": 0.7}
    path = tiny_reward_model(tmp_path, tokenizer, num_labels=2, bestofn=about)
    (score,) = BatchScorer(path).score(conversations(ANSWERS[:1]))
    assert list(score.rewards) == ["helpful", "short"]
    assert score.reward == pytest.approx((sum(score.rewards.values()) / 2 - 0.3) / 0.7)
    assert score == (await server_scores(path, ANSWERS[:1]))[0]


def test_nothing_to_score_is_no_score(checkpoint: Path) -> None:
    assert BatchScorer(checkpoint).score([]) == []


def test_a_reward_that_is_not_finite_is_passed_on(checkpoint: Path) -> None:
    scorer = BatchScorer(checkpoint)
    scorer._model.get_parameter("score.weight").data.fill_(math.nan)
    assert math.isnan(scorer.score(conversations(["2"]))[0].reward)


@pytest.mark.parametrize(
    ("last", "message"),
    [
        ({"role": "user", "content": "And now?"}, "must end with a message of the role assistant"),
        ({"role": "assistant", "content": None}, "whose content is text"),
        ({"role": "assistant", "content": "9" * 300}, r"more than the 256 that the reward model can read"),
    ],
)
def test_what_cannot_be_scored_is_named_by_its_index(checkpoint: Path, last: dict[str, Any], message: str) -> None:
    good = conversations(["2"])[0]
    with pytest.raises(ValueError, match=rf"^conversations\[1\]: .*{message}"):
        BatchScorer(checkpoint).score([good, [*PROMPT, last]])


def test_an_empty_conversation_is_refused(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match=r"conversations\[0\]: must end with"):
        BatchScorer(checkpoint).score([[]])
