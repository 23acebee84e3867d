"""`bestofn serve`'s command line: vLLM's arguments and our settings from one place, and what cannot be meant."""

from pathlib import Path

import pytest

from service.rerank.selection import ARGMAX, FREE
from service.rerank.strategies.adaptive import AdaptiveOptions
from service.settings import Settings
from service.vllm.bundled import Bundled
from service.vllm.command_line import parse

TEXTS = {"reward_model", "reward_device", "candidate_log"}  # settings for which many words are right


@pytest.fixture
def bundled(tmp_path: Path) -> dict[str, Bundled]:
    profile = tmp_path / "profile.json"
    profile.write_text('{"price": 0.3}', encoding="utf-8")
    return {
        "small": Bundled(tmp_path / "policy", tmp_path / "reward", profile, "small"),
        "other": Bundled(tmp_path / "other-policy", tmp_path / "other-reward", None, "other"),
    }


def test_without_a_model_the_first_bundled_ones_are_served(bundled: dict[str, Bundled]) -> None:
    args, settings = parse(["--best-of", "4", "--port", "8123"], bundled)
    assert (args.model, args.served_model_name, args.port) == (str(bundled["small"].model), ["small"], 8123)
    assert (settings.reward_model, settings.best_of) == (str(bundled["small"].reward_model), 4)
    assert settings.profile.complete(AdaptiveOptions()).price == 0.3


@pytest.mark.parametrize("given", [["other"], ["--model", "other"]])
def test_bundled_models_can_be_named(bundled: dict[str, Bundled], given: list[str]) -> None:
    args, settings = parse(given, bundled)
    assert (args.model, args.served_model_name, args.block_size) == (str(bundled["other"].model), ["other"], 32)
    assert (settings.reward_model, settings.strategy_profile) == (str(bundled["other"].reward_model), None)


def test_a_folder_goes_before_what_is_bundled_under_its_name(
    bundled: dict[str, Bundled], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    assert parse(["other", "--reward-model", "judge"], bundled)[0].model == "other"


def test_models_of_ones_own_bring_nothing_bundled(bundled: dict[str, Bundled]) -> None:
    args, settings = parse(["mine", "--reward-model", "judge"], bundled)
    assert (args.model, args.served_model_name, args.enforce_eager) == ("mine", None, False)
    assert (settings.reward_model, settings.reward_engine_args, settings.strategy_profile) == ("judge", {}, None)


def test_a_reward_model_of_ones_own_judges_the_bundled_policy(bundled: dict[str, Bundled]) -> None:
    args, settings = parse(["--reward-model", "judge"], bundled)
    assert (args.model, settings.reward_model, settings.strategy_profile) == (
        str(bundled["small"].model),
        "judge",
        None,
    )


def test_the_generator_takes_what_the_reward_model_leaves(bundled: dict[str, Bundled]) -> None:
    alone = parse(["mine", "--reward-model", "judge", "--reward-backend", "torch", "--reward-device", "cpu"], bundled)[
        0
    ]
    beside = parse(["mine", "--reward-model", "judge", "--reward-gpu-memory-utilization", "0.2"], bundled)[0]
    chosen = parse(["mine", "--reward-model", "judge", "--gpu-memory-utilization", "0.5"], bundled)[0]
    assert beside.gpu_memory_utilization == pytest.approx(alone.gpu_memory_utilization - 0.2)
    assert chosen.gpu_memory_utilization == 0.5


def test_a_file_holds_options_of_both(bundled: dict[str, Bundled], tmp_path: Path) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text("port: 8124\nmax-best-of: 8\nbest-of: 2\n", encoding="utf-8")
    args, settings = parse(["mine", "--reward-model", "judge", "--config", str(file), "--best-of", "4"], bundled)
    assert (args.port, settings.max_best_of, settings.best_of) == (8124, 8, 4)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["mine", "--selection", "soft"], "--selection: {"),
        (["mine", "--strategy", "prune"], "--strategy: prune needs a reward model"),
        (["--headless"], "more than one --api-server-count are vllm serve's"),
        (["--api-server-count", "2"], "run several bestofn servers behind a load balancer instead"),
        (["--best-of", "128"], "--best-of 128 is above --max-best-of 64"),
        (["--max-best-of", "none"], "--max-best-of: "),
        (["--candidate-log", "{file}/log"], "--candidate-log: "),
        (["--wild"], "unrecognized arguments: --wild"),
        (["--best-off=4"], "unrecognized arguments: --best-off=4 (did you mean --best-of?)"),
        (["--config"], "--config: expected a file"),
        (["--config", "{file}.yaml"], "cannot be read (No such file or directory)"),
        (["--config={file}.yaml"], "cannot be read (No such file or directory)"),
        (["mine", "--config", "--best-of", "4"], "--config: expected a file"),
        (["--config", "{file}"], "has to hold options"),
        (["--config", "{torn}"], "is not valid YAML"),
        (["--best-of", "x"], "--best-of: "),
        (["--port", "x"], "--port: invalid int value: 'x'"),
        (["--dtype", "x"], "--dtype: invalid choice"),
        (["--reward-engine-args", "{{"], "--reward-engine-args: not valid JSON"),
        (["--reward-dtype", "half"], "--reward-dtype: "),
        (["--compilation-config", "{{"], "--compilation-config"),
        (["--strategy-profile", "{file}.json"], "No such file"),
        (["--chat-template", "/absent.jinja"], "appears path-like, but doesn't exist"),
        (["--task", "x"], "unrecognized arguments: --task"),
        (["mine", "other"], "unrecognized arguments: other"),
        (["--sse-keep-alive-interval", "-1"], "--sse-keep-alive-interval must be a non-negative integer"),
    ],
)
def test_what_cannot_be_meant_ends_with_one_line(
    argv: list[str], message: str, bundled: dict[str, Bundled], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "torn.yaml").write_text("port: [1", encoding="utf-8")
    with pytest.raises(SystemExit) as caught:
        parse([option.format(file=tmp_path / "file", torn=tmp_path / "torn.yaml") for option in argv], bundled)
    assert caught.value.code == 2
    written = capsys.readouterr()
    assert written.err.startswith("bestofn serve: ")
    assert message in written.err
    assert (written.err.count("\n"), written.out) == (1, "")


@pytest.mark.parametrize("name", sorted(set(Settings.model_fields) - TEXTS))
def test_no_setting_takes_just_any_word(
    bundled: dict[str, Bundled], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse([f"--{name.replace('_', '-')}", "no\nsuch value"], bundled)
    written = capsys.readouterr().err
    assert (caught.value.code, written.count("\n")) == (2, 1)
    assert written.startswith("bestofn serve: ")


@pytest.mark.parametrize("spelling", [["--config", "{file}"], ["--config={file}"]])
def test_a_file_is_read_however_it_is_given_and_wherever_the_model_stands(
    bundled: dict[str, Bundled], tmp_path: Path, spelling: list[str]
) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text("port: 8124\napi-key: secret\nbest-of: 2\n", encoding="utf-8")
    config = [part.format(file=file) for part in spelling]
    alone, settings = parse([*config, "--max-best-of", "8"], bundled)
    assert (alone.model, alone.port, alone.api_key) == (str(bundled["small"].model), 8124, ["secret"])
    assert (settings.best_of, settings.max_best_of, settings.reward_model) == (2, 8, str(bundled["small"].reward_model))
    behind, _ = parse(["--reward-model", "judge", "mine", *config], bundled)
    assert (behind.model, behind.port) == ("mine", 8124)
    word, settings = parse(["--reward-model", "mine", "--best-of", "2", "mine", *config], bundled)
    assert (word.model, word.port, settings.reward_model, settings.best_of) == ("mine", 8124, "mine", 2)


def test_a_file_may_name_the_model(bundled: dict[str, Bundled], tmp_path: Path) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text("model: mine\nreward-model: judge\n", encoding="utf-8")
    args, settings = parse(["--config", str(file)], bundled)
    assert (args.model, settings.reward_model, settings.strategy_profile) == ("mine", "judge", None)


@pytest.mark.parametrize(("given", "ours", "vllms"), [([], 1, 0), (["0"], 0, 0), (["7"], 7, 7)])
def test_comments_in_streams_follow_vllms_own_option_where_it_is_given(
    bundled: dict[str, Bundled], given: list[str], ours: int, vllms: int
) -> None:
    args, _ = parse([word for value in given for word in ("--sse-keep-alive-interval", value)], bundled)
    assert (args.stream_comments_s, args.sse_keep_alive_interval) == (ours, vllms)


def test_without_a_reward_model_what_needs_none_is_offered_and_all_memory_is_the_generators(
    bundled: dict[str, Bundled],
) -> None:
    args, settings = parse(["mine"], bundled)
    assert (settings.reward_model, settings.selection) == (None, FREE)
    beside = parse(["mine", "--reward-model", "judge", "--reward-gpu-memory-utilization", "0.2"], bundled)[0]
    assert args.gpu_memory_utilization == pytest.approx(beside.gpu_memory_utilization + 0.2)
    assert parse(["mine", "--selection", "majority"], bundled)[1].selection.pick.name == "majority"
    assert parse(["mine", "--reward-model", "judge"], bundled)[1].selection == ARGMAX
