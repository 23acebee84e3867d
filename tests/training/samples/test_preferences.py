"""Comparisons to learn from, drawn and labelled in a lab or read from a file."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from training.data.records import Comparison, user
from training.run.run_folder import STATE_FOLDER
from training.samples import preferences
from training.samples.preferences import SAMPLES_FILE, PreferenceConfig, in_pairs, load_preferences, write_samples

QUICK = PreferenceConfig(
    model="arithmetic-sft",
    lab="arithmetic",
    prompts=40,
    samples_per_prompt=4,
    sampler="transformers",
    held_out_share=0.25,
)


def pairs(comparison: Comparison, limit: int, seed: int = 0) -> list[Comparison]:
    return in_pairs(comparison, limit, random.Random(seed))


def test_pairs_put_the_better_response_first() -> None:
    ranked = Comparison(user("q"), ("worst", "best", "middle"), ranks=(2, 0, 1))
    found = {pair.responses for pair in pairs(ranked, 10)}
    assert found == {("best", "worst"), ("best", "middle"), ("middle", "worst")}
    assert {pair.ranks for pair in pairs(ranked, 10)} == {(0, 1)}


def test_no_worse_response_comes_twice_while_there_are_others() -> None:
    tied = Comparison(user("q"), ("a", "b", "c", "d", "e"), ranks=(0, 0, 1, 1, 1))
    for seed in range(20):
        three = pairs(tied, 3, seed)
        assert {pair.responses[1] for pair in three} == {"c", "d", "e"}
    assert len(pairs(tied, 5)) == 5
    assert pairs(replace(tied, ranks=()), 3) == []


def test_samples_are_drawn_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_preferences(QUICK, tmp_path)
    rows = (tmp_path / STATE_FOLDER / SAMPLES_FILE).read_text(encoding="utf-8").splitlines()
    assert len(rows) == 40 == len(first.reference)
    assert all(len(json.loads(row)["responses"]) == 4 for row in rows)
    monkeypatch.setattr(preferences, "sampler", None)  # an interrupted run asks no policy again
    assert load_preferences(QUICK, tmp_path) == first


def test_no_prompt_is_both_learned_from_and_held_out(tmp_path: Path) -> None:
    prepared = load_preferences(QUICK, tmp_path)
    learned, held_out = ({str(c.messages) for c in part} for part in (prepared.train, prepared.held_out))
    assert learned
    assert held_out
    assert not learned & held_out
    assert all(c.pairs() for c in prepared.train)
    assert "lab `arithmetic`" in prepared.summary


def test_a_comparison_can_be_broken_into_pairs_for_training_only(tmp_path: Path) -> None:
    whole = load_preferences(QUICK, tmp_path)
    broken = load_preferences(replace(QUICK, pairs_per_prompt=2), tmp_path)
    assert {len(c.responses) for c in broken.train} == {2}
    assert broken.held_out == whole.held_out
    assert len(broken.train) > len(whole.train)


def test_a_file_is_reference_and_data_at_once(tmp_path: Path) -> None:
    drawn = [Comparison(user(f"q{n}"), ("é\n", "b"), ranks=(0, 1)) for n in range(8)]
    write_samples(tmp_path / "data.jsonl", drawn)
    prepared = load_preferences(
        PreferenceConfig(model="arithmetic-sft", data=str(tmp_path / "data.jsonl"), held_out_share=0.25), tmp_path
    )
    assert list(prepared.reference) == drawn
    assert sorted([*prepared.train, *prepared.held_out], key=drawn.index) == drawn


def test_single_answers_are_drawn_at_random_and_repeat(tmp_path: Path) -> None:
    drawn = [Comparison(user(f"q{n}"), ("a", "b"), ranks=(0, 1)) for n in range(8)]
    found = preferences.Preferences(drawn, [], drawn, "")
    singles = found.single_answers(5, seed=1)
    assert [len(single.responses) for single in singles] == [1] * 5
    assert singles == found.single_answers(5, seed=1) != found.single_answers(5, seed=2)
    assert len(found.single_answers(99, seed=1)) == 16
