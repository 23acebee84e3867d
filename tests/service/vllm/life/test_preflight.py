"""What is refused before an engine starts, and by which words; and that nothing else is."""

import json
import shutil
from argparse import Namespace
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import save_file

from bestofn_server.commands.serve import bundled
from service.settings import Settings
from service.vllm.command_line import parse
from service.vllm.life.preflight import NotServable, check

POLICY, REWARD = bundled()["arithmetic"].model, bundled()["arithmetic"].reward_model
Change = Callable[[Path], None]


def arguments(**changes: Any) -> Namespace:
    return Namespace(**{**vars(_parsed()), "model": str(POLICY), **changes})


@cache
def _parsed() -> Namespace:
    return parse([], bundled())[0]


def settings(model: object, **changes: Any) -> Settings:
    return Settings(reward_model=str(model), **changes)


@pytest.fixture
def judge(tmp_path: Path) -> Path:
    """A copy of the bundled reward model, to be broken."""
    return Path(shutil.copytree(REWARD, tmp_path / "judge"))


def without_config_key(name: str) -> Change:
    def do(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        for key in (name, "id2label", "label2id"):
            config.pop(key, None)
        (folder / "config.json").write_text(json.dumps(config))

    return do


def language_model(folder: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(POLICY, folder)


def without_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def adapter(folder: Path) -> None:
    (folder / "config.json").rename(folder / "adapter_config.json")


def without_head(folder: Path) -> None:
    for path in folder.glob("*.safetensors"):
        path.unlink()
    save_file({"model.embed_tokens.weight": torch.zeros(2, 2)}, folder / "model.safetensors")


def torn(folder: Path) -> None:
    next(folder.glob("*.safetensors")).write_bytes(b"half")


def without_weights(folder: Path) -> None:
    next(folder.glob("*.safetensors")).unlink()


@pytest.mark.parametrize("model", [POLICY, "org/some-model"])
def test_what_can_be_served_passes(model: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    check(arguments(model=str(model)), settings(REWARD))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (shutil.rmtree, "there is no folder .*judge, where the reward model should be"),
        (language_model, r"is a language model \(LlamaForCausalLM\) and has no reward head; name a sequence"),
        (without_template, "has no chat template, and a reward model reads conversations; save the template"),
        (adapter, "is a LoRA adapter; merge it into its base model"),
        (without_head, r"hold no reward head \(score.weight\); train one with `bestofn train reward`"),
        (without_weights, r"holds no weights \(\*.safetensors\)"),
        (torn, "model.safetensors cannot be read"),
        (lambda folder: (folder / "config.json").unlink(), "holds no checkpoint: there is no config.json in it"),
        (lambda folder: (folder / "config.json").write_text("{"), "the config of .* cannot be read"),
    ],
)
def test_a_reward_model_that_cannot_be_one_is_refused_in_one_line(judge: Path, change: Change, words: str) -> None:
    change(judge)
    with pytest.raises(NotServable, match=f"^(--reward-model: .*)?.*{words}") as caught:
        check(arguments(), settings(judge))
    assert "\n" not in str(caught.value)


def test_a_checkpoint_that_does_not_say_how_many_outputs_it_has_is_refused(judge: Path) -> None:
    without_config_key("num_labels")(judge)
    with pytest.raises(NotServable, match=r"num_labels=2 but config\.bestofn names 0 heads"):
        check(arguments(), settings(judge))


def test_an_argument_that_vllms_engine_does_not_have_is_refused() -> None:
    check(arguments(), settings(REWARD, reward_engine_args={"max_model_len": 512}))
    for name, hint in (("max_modl_len", r"did you mean max_model_len\?"), ("zzz", "its names are those of vLLM's")):
        with pytest.raises(NotServable, match=f"--reward-engine-args: there is no argument {name}; {hint}"):
            check(arguments(), settings(REWARD, reward_engine_args={name: 512}))


def test_what_the_engines_arguments_read_otherwise_is_left_to_vllm(judge: Path) -> None:
    language_model(judge)
    check(arguments(), settings(judge, reward_engine_args={"hf_overrides": {"architectures": ["Other"]}}))


def test_a_missing_model_is_refused_and_a_name_of_the_hub_is_not(tmp_path: Path) -> None:
    for model in (tmp_path / "absent", "./absent", "a/b/c"):
        with pytest.raises(NotServable, match="MODEL: there is no folder"):
            check(arguments(model=str(model)), settings(REWARD))
    check(arguments(model="s3://bucket/model"), settings(REWARD))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Hub's cache, in which org/judge is; whoever would fetch anything fails."""
    commit = "0" * 40
    repository = tmp_path / "hub" / "models--org--judge"
    shutil.copytree(REWARD, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(repository.parent))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return repository / "snapshots" / commit


@pytest.mark.parametrize(
    ("change", "words"), [(language_model, "is a language model"), (without_template, "has no chat template")]
)
def test_a_reward_model_in_the_cache_of_the_hub_is_checked(hub: Path, change: Change, words: str) -> None:
    check(arguments(), settings("org/judge"))
    change(hub)
    with pytest.raises(NotServable, match=f"--reward-model: .*org/judge {words}"):
        check(arguments(), settings("org/judge"))


@pytest.mark.parametrize("model", ["org/elsewhere", "judge", "s3://bucket/judge"])
def test_a_reward_model_that_is_not_here_is_left_to_vllm(
    hub: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    check(arguments(), settings(model))


def test_a_model_that_is_neither_here_nor_may_be_fetched_is_refused(hub: Path) -> None:
    with pytest.raises(NotServable, match=r"^MODEL: there is no folder org/else, and no model of that name"):
        check(arguments(model="org/else"), settings(REWARD))
    with pytest.raises(NotServable, match=r"^--reward-model: there is no folder org/else, and"):
        check(arguments(), settings("org/else"))


def test_a_reward_model_that_is_here_in_part_is_left_to_vllm(hub: Path) -> None:
    for path in hub.glob("*token*"):
        path.unlink()
    check(arguments(), settings("org/judge"))


def test_a_model_with_code_of_its_own_is_left_to_vllm_where_that_may_run(judge: Path) -> None:
    path = judge / "config.json"
    path.write_text(
        json.dumps({**json.loads(path.read_text()), "auto_map": {"AutoConfig": "own.Own"}, "model_type": "own"})
    )
    (judge / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["own.Own", null]}}')
    (judge / "tokenizer.json").unlink()
    check(arguments(), settings(judge, reward_engine_args={"trust_remote_code": True}))
    with pytest.raises(NotServable, match=r"the tokenizer of .* cannot be read"):
        check(arguments(), settings(judge))


def test_an_adapter_as_the_model_is_refused_with_how_to_serve_it(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").touch()
    (tmp_path / "adapter_model.safetensors").touch()
    with pytest.raises(NotServable, match=f"--enable-lora --lora-modules NAME={tmp_path}"):
        check(arguments(model=str(tmp_path)), settings(REWARD))


def test_files_that_are_named_have_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(NotServable, match="--ssl-keyfile: there is no file"):
        check(arguments(ssl_keyfile=str(tmp_path / "key")), settings(REWARD))


# -- vLLM's application


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--enable-auto-tool-choice", "--tool-call-parser", "hermez"],
            r"--tool-call-parser: there is no parser hermez; did you mean hermes\?",
        ),
        (["--reasoning-parser", "qwen33"], r"--reasoning-parser: there is no parser qwen33; did you mean qwen3\?"),
        (["--reasoning-parser", "zzzz"], "--reasoning-parser: there is no parser zzzz; there are .*qwen3"),
        (["--tool-parser-plugin", "absent.py"], "--tool-parser-plugin: there is no file absent.py"),
        (["--reasoning-parser-plugin", "absent.py"], "--reasoning-parser-plugin: there is no file absent.py"),
        (["--middleware", "absent.Middleware"], "--middleware: absent.Middleware cannot be imported: No module"),
        (["--middleware", "json.Absent"], "--middleware: json.Absent cannot be imported: module 'json' has no"),
        (["--lora-modules", "mine=/absent"], "--lora-modules: there is no folder /absent for mine"),
        (["--ssl-certfile", __file__, "--ssl-keyfile", __file__], "the HTTP server cannot be set up with these --ssl"),
    ],
)
def test_what_vllm_would_find_wrong_by_a_traceback_is_refused_in_one_line(options: list[str], words: str) -> None:
    args, ours = parse(options, bundled())
    with pytest.raises(NotServable, match=words) as caught:
        check(args, ours)
    assert "\n" not in str(caught.value)


def test_a_parser_that_is_not_used_is_left_to_vllm() -> None:
    check(arguments(enable_auto_tool_choice=False, tool_call_parser="hermez"), settings(REWARD))


def test_weights_that_are_not_read_are_not_asked_for(judge: Path) -> None:
    without_weights(judge)
    check(arguments(model=str(judge), load_format="dummy"), settings(REWARD))
    check(arguments(), settings(judge, reward_engine_args={"load_format": "dummy"}))


def test_a_model_that_only_vllm_knows_is_left_to_it(judge: Path) -> None:
    path = judge / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_type": "unheard_of"}))
    check(arguments(model=str(judge)), settings(judge))


def test_a_name_may_end_in_its_quantisation(hub: Path, tmp_path: Path) -> None:
    check(arguments(model="org/judge:Q4_K_M"), settings(REWARD))
    check(arguments(), settings("org/judge:Q4_K_M"))
    check(arguments(model=f"{tmp_path}:Q4_K_M"), settings(REWARD))
    with pytest.raises(NotServable, match="MODEL: there is no folder org/else"):
        check(arguments(model="org/else:Q4_K_M"), settings(REWARD))
