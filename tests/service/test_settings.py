"""Settings: where they come from, and what is said of a wrong one."""

import argparse
from pathlib import Path
from typing import Any

import pytest

from service.rerank.prices import HourlyPrice, Prices, TokenPrices
from service.rerank.selection import Selection
from service.rerank.selection.picks import Majority, Soft
from service.rerank.strategies.adaptive import AdaptiveOptions
from service.rerank.strategies.profile import DEFAULTS
from service.rerank.strategies.prune import PruneOptions
from service.settings import Settings, add_arguments


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"BESTOFN_{name.upper()}", raising=False)


def parsed(*argv: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return vars(parser.parse_args(argv))


def test_command_line_over_environment_over_file_over_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings.resolve({}, {}).max_best_of == 64
    assert Settings.resolve({}, {"max_best_of": 10}).max_best_of == 10
    monkeypatch.setenv("BESTOFN_MAX_BEST_OF", "20")
    assert Settings.resolve({}, {"max_best_of": 10}).max_best_of == 20
    assert Settings.resolve({"max_best_of": "30"}, {"max_best_of": 10}).max_best_of == 30


def test_each_setting_is_resolved_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BESTOFN_MAX_CANDIDATES", "100")
    settings = Settings.resolve({"best_of": "4"}, {"max_best_of": "32", "best_of": "2"})
    assert (settings.best_of, settings.max_best_of, settings.max_candidates) == (4, 32, 100)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("best_of", "0"),
        ("best_of", "four"),
        ("best_of", "2.5"),
        ("max_best_of", "0"),
        ("max_best_of", "5000"),
        ("max_candidates", "0"),
        ("slo_p99_ms", "0"),
        ("slo_p99_ms", "nan"),
        ("slo_p99_ms", "inf"),
        ("on_reward_failure", "panic"),
        ("reward_backend", "jax"),
        ("prefix_score_tokens", "0"),
        ("reward_engine_args", "4"),
        ("selection", "best"),
        ("selection", "{"),
        ("selection", '{"pick": "soft", "beta": 1}'),
        ("selection", '{"tempo": 1}'),
        ("strategy", "worst_of_n"),
        ("candidate_log", ""),
        ("candidate_log_max_mb", "0"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_setting(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=name):
        Settings.resolve({name: value}, {})


@pytest.mark.parametrize(("name", "value"), [("BEST_OF", ""), ("BEST_OF", "x"), ("REWARD_ENGINE_ARGS", "{not json")])
def test_a_wrong_environment_variable_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"BESTOFN_{name}", value)
    with pytest.raises(ValueError, match=name.lower()):
        Settings.resolve({}, {})


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("BESTOFN_BESTOF", "BESTOFN_BEST_OF"),
        ("BESTOFN_BEST_OFF", "BESTOFN_BEST_OF"),
        ("BESTOFN_REWARDMODEL", "BESTOFN_REWARD_MODEL"),
        ("BESTOFN_MAX_CANDIDATE", "BESTOFN_MAX_CANDIDATES"),
    ],
)
def test_a_slip_in_the_name_of_a_variable_is_refused_with_the_name_that_is_meant(
    monkeypatch: pytest.MonkeyPatch, name: str, meant: str
) -> None:
    monkeypatch.setenv(name, "4")
    with pytest.raises(ValueError, match=rf"{name} names no setting of bestofn; did you mean {meant}\?"):
        Settings.resolve({}, {})


@pytest.mark.parametrize(
    ("name", "hint"),
    [("BESTOFN_IMAGE_TAG", ""), ("BESTOFN_REPLICAS", ""), ("BESTOFN_MODEL", "; did you mean BESTOFN_REWARD_MODEL?")],
)
def test_a_variable_that_may_be_somebody_elses_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, hint: str
) -> None:
    monkeypatch.setenv(name, "4")
    assert Settings.resolve({}, {}).best_of == 1
    assert caplog.messages == [f"the environment variable {name} names no setting of bestofn and is ignored{hint}"]


def test_an_unknown_key_of_the_file_is_refused_by_its_name() -> None:
    with pytest.raises(ValueError, match="bestof"):
        Settings.resolve({}, {"bestof": 4})


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"best_of": "65"}, ["--best-of 65", "--max-best-of 64"]),
        ({"max_best_of": "600"}, ["--max-best-of 600", "--max-candidates is 512"]),
    ],
)
def test_bounds_that_contradict_each_other_are_both_named(given: dict[str, str], named: list[str]) -> None:
    with pytest.raises(ValueError, match="max") as caught:
        Settings.resolve(given, {})
    assert all(name in str(caught.value) for name in named)


def test_bounds_that_just_agree_are_accepted() -> None:
    settings = Settings.resolve({"best_of": "8", "max_best_of": "8", "max_candidates": "8"}, {})
    assert settings.best_of == settings.max_best_of == settings.max_candidates == 8


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings.resolve({}, {}).best_of = 2


# -- the command line


def test_what_is_not_given_is_absent() -> None:
    assert parsed() == {}


def test_every_setting_has_an_option_and_help() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    text = parser.format_help()
    assert all(f"--{name.replace('_', '-')}" in text for name in Settings.model_fields)
    assert all(field.description for field in Settings.model_fields.values())


def test_options_reach_the_settings() -> None:
    argv = ["--best-of", "4", "--reward-engine-args", '{"max_model_len": 99}', "--prefix-score-tokens", "32"]
    settings = Settings.resolve(parsed(*argv), {})
    assert (settings.best_of, settings.prefix_score_tokens) == (4, 32)
    assert settings.reward_engine_args == {"max_model_len": 99}


def test_json_from_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BESTOFN_REWARD_ENGINE_ARGS", '{"max_model_len": 99}')
    assert Settings.resolve({}, {}).reward_engine_args == {"max_model_len": 99}


def test_the_default_selection_is_a_name_or_json(monkeypatch: pytest.MonkeyPatch) -> None:
    soft = Selection(pick=Soft(temperature=0.2))
    given = '{"pick": "soft", "temperature": 0.2}'
    assert Settings.resolve({}, {}).selection == Selection()
    assert Settings.resolve(parsed("--selection", "majority"), {}).selection == Selection(pick=Majority())
    assert Settings.resolve(parsed("--selection", given), {}).selection == soft
    assert Settings.resolve({}, {"selection": {"pick": "soft", "temperature": 0.2}}).selection == soft
    monkeypatch.setenv("BESTOFN_SELECTION", given)
    assert Settings.resolve({}, {}).selection == soft


@pytest.mark.parametrize("text", ["{", "[1]", "4", "null"])
def test_engine_arguments_that_are_no_json_object_are_refused_by_name(
    capsys: pytest.CaptureFixture[str], text: str
) -> None:
    with pytest.raises(SystemExit):
        parsed("--reward-engine-args", text)
    assert "--reward-engine-args" in capsys.readouterr().err


@pytest.mark.parametrize("service", ["", "METRICS_", "BEST_OFF_", "REWARD_MODEL_V2_"])
@pytest.mark.parametrize(
    "kind",
    ["SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_8000_TCP", "PORT_8000_TCP_ADDR", "PORT_53_UDP"],
)
def test_what_kubernetes_says_of_a_service_is_no_setting(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, service: str, kind: str
) -> None:
    monkeypatch.setenv(f"BESTOFN_{service}{kind}", "10.0.0.1")
    assert Settings.resolve({}, {}).best_of == 1
    assert not caplog.messages


@pytest.mark.parametrize("name", ["model", "dtype", "gpu_memory_utilization", "runner"])
def test_an_engine_argument_with_an_option_of_its_own_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Settings.resolve({"reward_engine_args": {name: "x"}}, {})


@pytest.mark.parametrize(
    ("given", "prices"),
    [
        ({}, None),
        ({"gpu_hour_dollars": "2.5"}, HourlyPrice(2.5)),
        ({"generated_mtoken_dollars": "2"}, TokenPrices(generated=2.0)),
        ({"prompt_mtoken_dollars": "1", "scored_mtoken_dollars": "0"}, TokenPrices(prompt=1.0)),
    ],
)
def test_prices_are_of_one_kind(given: dict[str, str], prices: Prices | None) -> None:
    assert Settings.resolve(given, {}).prices == prices


def test_two_kinds_of_prices_are_refused() -> None:
    with pytest.raises(ValueError, match="--gpu-hour-dollars and --scored-mtoken-dollars exclude each other"):
        Settings.resolve({"gpu_hour_dollars": "2", "scored_mtoken_dollars": "1"}, {})


def test_strategies_are_set_by_name_and_by_file(tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    file.write_text('{"keep": [0.25], "wave": 4}')
    settings = Settings.resolve(parsed("--strategy", "prune", "--strategy-profile", str(file)), {})
    assert settings.strategy == "prune"
    assert settings.profile.complete(PruneOptions()) == PruneOptions(keep=[0.25])
    assert settings.profile.complete(AdaptiveOptions()) == AdaptiveOptions(wave=4)
    plain = Settings.resolve({}, {})
    assert (plain.strategy, plain.profile) == ("best_of_n", DEFAULTS)


@pytest.mark.parametrize(
    ("text", "named"), [(None, "No such file"), ('{"keep": [2]}', r"keep\.0"), ("no", "the file: Invalid JSON")]
)
def test_a_profile_that_cannot_be_read_is_an_error_of_the_start(tmp_path: Path, text: str | None, named: str) -> None:
    file = tmp_path / "profile.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ValueError, match=rf"profile\.json: {named}"):
        Settings.resolve({"strategy_profile": str(file)}, {})
