"""A new variant is one class and one entry in the list of its kind: everything else follows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
from pydantic import Field

from reward.config import RewardConfig
from service.rerank import strategies
from service.rerank.errors import InvalidRequest
from service.rerank.options import RerankOptions
from service.rerank.plan import make_plan
from service.rerank.request import Limits
from service.rerank.selection import HEADS, PICKS, Heads, Pick, Selection, select
from service.rerank.selection.picks import Ranking
from service.rerank.strategies import STRATEGIES, StrategyOptions, Terms
from service.rerank.strategies.base import Action, AskForScore, Candidate, Event, Finished, Sample, Stop
from service.rerank.strategies.knobs import Profiled
from service.rerank.strategies.profile import DEFAULTS, StrategyProfile
from service.rerank.variants import Variant, help_of, known_knobs
from service.settings import Settings
from tests.service.fakes import make_ask
from tests.service.rerank.selection.crowds import scored
from tests.training.experiments.replay.pools import pool
from training.experiments.replay.replay import replay

FAMILIES: Mapping[str, Sequence[type[Variant]]] = {"strategies": STRATEGIES, "picks": PICKS, "heads": HEADS}


class RelayOptions(StrategyOptions):
    """Samples one candidate after another until enough are scored."""

    name: ClassVar[str] = "relay"

    enough: Annotated[int, Profiled()] = Field(default=2, ge=1, description="Scored candidates that are enough.")

    def make(self, terms: Terms) -> "RelayRace":
        return RelayRace(min(terms.best_of, max(terms.n, self.enough)))


class RelayRace:
    name = RelayOptions.name
    checkpoint_tokens: None = None
    alarm_s: None = None

    def __init__(self, enough: int) -> None:
        self.enough = enough

    def start(self) -> Sequence[Action]:
        return [Sample(1)]

    def decide(self, event: Event, candidates: Sequence[Candidate]) -> Sequence[Action]:
        if isinstance(event, Finished):
            return [AskForScore(event.index)]
        return [Stop("complete") if len(candidates) >= self.enough else Sample(1)] if candidates[-1].settled else []


class Tersest(Pick):
    """The shortest answer."""

    name: ClassVar[str] = "tersest"

    least_tokens: int = Field(default=1, ge=1, description="Shorter ones come last.")

    def rank(self, standing: Sequence[Candidate], worth: Mapping[int, float], seed: int) -> Ranking:
        return Ranking(sorted(standing, key=lambda one: (one.tokens < self.least_tokens, one.tokens)))


class Best(Heads):
    """The highest of the heads."""

    name: ClassVar[str] = "best"

    def worth(self, scored: Sequence[Candidate], reward_std: float) -> dict[int, float]:
        return {one.index: max(one.rewards.values()) / reward_std for one in scored}


@pytest.fixture
def relay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strategies, "STRATEGIES", (*STRATEGIES, RelayOptions))


@pytest.fixture
def tersest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.rerank.selection.picks.PICKS", (*PICKS, Tersest))


@pytest.fixture
def best_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.rerank.selection.heads.HEADS", (*HEADS, Best))


def enough(rerank: Mapping[str, Any], profile: StrategyProfile = DEFAULTS, **body: Any) -> int:
    """As planned from a request."""
    ask = make_ask({"best_of": 8, "rerank": rerank, **body})
    plan = make_plan(ask, n=ask.n, temperature=1.0, checkpoint_tokens=None, profile=profile)
    assert isinstance(plan.strategy, RelayRace)
    return plan.strategy.enough


def refusal(rerank: Mapping[str, Any]) -> str:
    with pytest.raises(InvalidRequest) as caught:
        make_ask({"best_of": 8, "rerank": rerank})
    return str(caught.value)


# -- a strategy


@pytest.mark.usefixtures("relay")
def test_a_request_asks_for_a_new_strategy_with_its_knobs() -> None:
    assert enough({"strategy": "relay"}) == 2
    assert enough({"strategy": "relay", "enough": 3}) == 3
    assert enough({"strategy": "relay", "enough": 1}, n=4) == 4
    assert refusal({"strategy": "relay", "enough": 0}).startswith("rerank.enough: ")
    assert refusal({"enough": 3}) == "rerank.enough belongs to strategy relay; this request has best_of_n"
    assert (
        refusal({"strategy": "relay", "wave": 3}) == "rerank.wave belongs to strategy adaptive; this request has relay"
    )
    assert "'greedy' or 'relay'" in refusal({"strategy": "none"})
    assert ", price, enough, stop_after, " in refusal({"strategy": "relay", "more": 3})


@pytest.mark.usefixtures("relay")
def test_a_profile_sets_it_and_a_server_has_it_as_its_default(tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    file.write_text('{"enough": 5, "keep": [0.25]}')
    settings = Settings.resolve({"strategy": "relay", "strategy_profile": str(file)}, {})
    assert json.loads(settings.profile.to_json())["enough"] == 5
    assert enough({"strategy": "relay"}, settings.profile) == 5
    assert enough({"strategy": "relay", "enough": 3}, settings.profile) == 3
    ask = make_ask({}, limits=Limits(8, 8, 8, settings.strategy))
    assert ask.options.strategy == RelayOptions()
    file.write_text('{"enough": 0}')
    with pytest.raises(ValueError, match=r"profile\.json: enough: "):
        StrategyProfile.read(str(file))


@pytest.mark.usefixtures("relay", "tersest")
def test_a_replay_plays_what_is_new() -> None:
    asked: list[dict[str, Any]] = [{"strategy": "relay", "enough": 3}, {"selection": "tersest"}]
    plain, relay, tersest = replay([(DEFAULTS, pool(4, 6))], asked, best_of=6, draws=5).played
    assert (relay.name, set(relay.sampled)) == ("relay enough 3", {3.0})
    assert tersest.returned.mean() < plain.returned.mean()
    assert tersest.tokens == pytest.approx(plain.tokens)


# -- a selection


@pytest.mark.usefixtures("tersest")
def test_a_request_or_a_server_asks_for_a_new_pick_with_its_knobs() -> None:
    picked = make_ask({"rerank": {"selection": {"pick": "tersest", "least_tokens": 4}}}).selection
    assert picked == Selection(pick=Tersest(least_tokens=4))
    assert picked.described() == {"pick": "tersest", "least_tokens": 4}
    assert Settings.resolve({"selection": "tersest"}, {}).selection == Selection(pick=Tersest())
    assert refusal({"selection": {"least_tokens": 4}}).endswith("pick argmax does not read it; tersest does")
    assert refusal({"selection": {"pick": "tersest", "least_tokens": 0}}).startswith("rerank.selection.least_tokens: ")
    assert refusal({"selection": {"pick": "tersest", "most": 4}}).endswith("beta, answer, over_tokens, least_tokens")
    candidates = [replace(one, tokens=tokens) for one, tokens in zip(scored(1, 2, 3), (9, 4, 2), strict=True)]
    assert select(candidates, 3, picked).selected == (1, 0, 2)


@pytest.mark.usefixtures("best_head")
def test_a_request_asks_for_a_new_way_to_read_heads() -> None:
    limits = Limits(1, 8, 8, reward=RewardConfig(("a", "b"), 0.0, 2.0))
    asked = make_ask({"rerank": {"selection": {"pick": "soft", "heads": "best"}}}, limits=limits).selection
    assert asked.heads == Best()
    assert refusal({"selection": {"heads": "best"}}).startswith("rerank.selection.heads: best compares the heads")
    candidate = Candidate(0, "finished", finish_rank=0, reward=0.5, rewards={"a": -1.0, "b": 3.0})
    assert select([candidate], 1, asked, reward_std=2.0).utilities == {0: 1.5}


# -- of every variant


@pytest.mark.parametrize("family", FAMILIES)
def test_every_variant_has_a_name_help_and_knobs_with_help_and_defaults(family: str) -> None:
    variants = FAMILIES[family]
    names = [variant.name for variant in variants]
    assert len(set(names)) == len(names)
    for variant in variants:
        made = variant()
        assert all(field.description for field in variant.model_fields.values())
        assert f"{variant.name}: " in help_of(variants)
        assert made == variant.model_validate({knob: getattr(made, knob) for knob in variant.model_fields})


def test_no_knob_takes_the_name_of_a_key_that_all_share() -> None:
    assert not set(RerankOptions.model_fields) & set(known_knobs(STRATEGIES))
    of_selection = [*Selection.model_fields, *known_knobs(PICKS), *known_knobs(HEADS)]
    assert len(set(of_selection)) == len(of_selection)
