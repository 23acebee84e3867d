"""The file that sets a server's strategies."""

import json
from pathlib import Path

import pytest

from service.rerank.strategies.adaptive import AdaptiveOptions
from service.rerank.strategies.best_of_n import BestOfNOptions
from service.rerank.strategies.prior import Prior
from service.rerank.strategies.profile import DEFAULTS, StrategyProfile
from service.rerank.strategies.prune import PruneOptions

PRIOR = '{"values": [0, 1], "edges": [0.5], "weights": [1.0], "shares": [[0.25, 0.75]]}'


def written(folder: Path, text: str) -> str:
    (folder / "profile.json").write_text(text)
    return str(folder / "profile.json")


def test_what_the_file_leaves_out_has_its_default(tmp_path: Path) -> None:
    read = StrategyProfile.read(written(tmp_path, '{"keep": [0.75, 0.5], "price": 0.2}'))
    assert read.complete(PruneOptions()) == PruneOptions(keep=[0.75, 0.5])
    assert read.complete(AdaptiveOptions()) == AdaptiveOptions(price=0.2)
    assert DEFAULTS.complete(PruneOptions()) == PruneOptions()


def test_what_a_request_asks_for_is_not_the_profiles_to_set() -> None:
    profile = StrategyProfile.of({"keep": [0.75], "checkpoint_tokens": 4, "price": 0.2})
    assert profile.complete(PruneOptions(checkpoint_tokens=16)) == PruneOptions(checkpoint_tokens=16, keep=[0.75])
    assert profile.complete(BestOfNOptions()) == BestOfNOptions()


def test_the_file_holds_every_knob_that_a_profile_sets(tmp_path: Path) -> None:
    values = json.loads(StrategyProfile.of({"price": 0.2}).to_json())
    assert list(values) == ["checkpoint_tokens", "keep", "wave", "price", "prior"]
    assert (values["checkpoint_tokens"], values["keep"], values["price"]) == (16, [0.5], 0.2)


def test_a_profile_comes_back_as_it_was_written(tmp_path: Path) -> None:
    prior = Prior((0.0, 1.0), (0.5,), (1.0,), ((0.25, 0.75),))
    profile = StrategyProfile.of({"checkpoint_tokens": 4, "keep": (0.3, 1.0), "prior": prior})
    assert StrategyProfile.read(written(tmp_path, profile.to_json())) == profile
    read = StrategyProfile.read(written(tmp_path, f'{{"prior": {PRIOR}}}'))
    assert read.complete(AdaptiveOptions()) == AdaptiveOptions(prior=prior)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{", "the file"),
        ("[]", "the file"),
        ('{"keeps": 0.5}', "keeps"),
        ('{"keep": []}', "keep"),
        ('{"keep": [0.5, 0]}', r"keep\.1"),
        ('{"checkpoint_tokens": 0}', "checkpoint_tokens"),
        ('{"wave": 0}', "wave"),
        ('{"price": 0}', "price"),
        ('{"price": Infinity}', "price"),
        ('{"prior": {"values": [0, 1]}}', r"prior\.edges"),
        (f'{{"prior": {PRIOR.replace("0.25", "0.3")}}}', "prior: .*sum to 1"),
        (f'{{"prior": {PRIOR.replace("[0, 1]", "[1, 0]")}}}', "prior: .*rise"),
    ],
)
def test_a_fault_is_told_with_its_file_and_field(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ValueError, match=rf"profile\.json: {named}"):
        StrategyProfile.read(written(tmp_path, text))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.json: No such file"):
        StrategyProfile.read(str(tmp_path / "none.json"))
