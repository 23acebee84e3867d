"""The card of a checkpoint, and what its training took."""

from pathlib import Path

import pytest

from training.run import cards
from training.run.config import ConfigError


def test_a_card_says_how_the_checkpoint_was_made(tmp_path: Path) -> None:
    cards.write(
        tmp_path,
        title="A policy",
        usage=cards.POLICY_USAGE,
        command="bestofn train sft",
        data="ten demonstrations",
        measured="Nothing.",
        minutes=1.26,
        settings={"lab": "arithmetic", "heads": []},
        tokens_per_second=12_345.6,
    )
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    for part in (
        "# A policy\n",
        "bestofn train sft\n",
        "in 1.3 minutes on",
        "training 12,346 tokens a second",
        "lab: ari",
    ):
        assert part in text
    assert cards.training_minutes(str(tmp_path)) == 1.3


def test_a_checkpoint_without_its_cost_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no training_cost\.json, which our trainers write"):
        cards.training_minutes(str(tmp_path))
