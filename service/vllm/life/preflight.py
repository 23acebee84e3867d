"""What can be known to be wrong before an engine starts: a start takes half a minute or more, and fails by a traceback.

Only files are read, and only what is surely wrong is refused: what these checks do not know, vLLM decides.
"""

import json
import os
import re
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

from starlette.applications import Starlette

from service.settings import Settings
from service.vllm.life import http_server

_LANGUAGE_MODEL = re.compile(r"(ForCausalLM|LMHeadModel|ForConditionalGeneration)$")
_CLASSIFIER = re.compile(r"ForSequenceClassification$")
_HEAD = re.compile(r"(^|\.)(score|classifier|classification_head|v_head|value_head|reward_head|regression_head)\b")
_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.gguf")
# Arguments of vLLM with which a checkpoint is read as something else than its config.json says.
_REREAD = {
    "hf_overrides",
    "convert",
    "config_format",
    "tokenizer",
    "load_format",
    "hf_config_path",
    "revision",
    "tokenizer_revision",
    "trust_remote_code",
}

TRAIN = "train one with `bestofn train reward`"


class NotServable(ValueError):
    """Something that was asked for cannot be served. The message says what to do."""


def check(args: Namespace, settings: Settings) -> None:
    """Raises NotServable for the first thing that is wrong with the models, the files or the application."""
    _check_http(args)
    _check_parsers(args)
    _check_middleware(args)
    _check_adapters(args)
    _check_policy(args)
    if settings.reward_model is not None:
        _check_reward_model(settings.reward_model, settings.reward_engine_args)


# -- models


def _check_policy(args: Namespace) -> None:
    model = args.model
    folder = _folder("the model", "MODEL", model, args.load_format)
    if folder is not None and (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        raise NotServable(
            f"MODEL: {model} is a LoRA adapter; serve its base model, with --enable-lora --lora-modules NAME={model}"
        )


def _check_reward_model(model: str, engine_args: Mapping[str, Any]) -> None:
    option = "--reward-model"
    _check_engine_args(engine_args)
    folder = _folder("the reward model", option, model, engine_args.get("load_format", "auto"))
    if folder is not None and not (folder / "config.json").is_file() and (folder / "adapter_config.json").is_file():
        raise NotServable(
            f"{option}: {model} is a LoRA adapter; merge it into its base model (PeftModel.merge_and_unload) and serve "
            "what that saves"
        )
    if _REREAD & engine_args.keys() or not _config_is_here(model, folder):
        return
    config = _loaded(option, model, folder, "config", _config)
    if config is not None:
        _check_outputs(option, model, config)
    if folder is not None:
        _check_head(option, model, folder)
    tokenizer = _loaded(option, model, folder, "tokenizer", _tokenizer)
    if tokenizer is not None and not tokenizer.chat_template:
        raise NotServable(
            f"{option}: the tokenizer of {model} has no chat template, and a reward model reads conversations; save "
            "the template that it was trained with as chat_template.jinja beside it"
        )


def _check_engine_args(engine_args: Mapping[str, Any]) -> None:
    from vllm.engine.arg_utils import AsyncEngineArgs

    known = [field.name for field in fields(AsyncEngineArgs)]
    for name in engine_args:
        if name not in known:
            hint = _nearest(name, known, "its names are those of vLLM's AsyncEngineArgs")
            raise NotServable(f"--reward-engine-args: there is no argument {name}; {hint}")


def _nearest(name: str, known: Sequence[str], otherwise: str) -> str:
    near = get_close_matches(name, known, 1)
    return f"did you mean {near[0]}?" if near else otherwise


def _config_is_here(model: str, folder: Path | None) -> bool:
    """In its folder, or in the cache of the Hub; what would have to be fetched first is vLLM's to fetch."""
    if folder is not None:
        return (folder / "config.json").is_file()
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return isinstance(try_to_load_from_cache(model, "config.json"), str)
    except HFValidationError:
        return False


def _check_outputs(option: str, model: str, config: Any) -> None:
    from reward.config import RewardConfig

    architecture = next(iter(config.architectures or ()), "")
    if _LANGUAGE_MODEL.search(architecture):
        raise NotServable(
            f"{option}: {model} is a language model ({architecture}) and has no reward head; name a sequence "
            f"classification model, or {TRAIN}"
        )
    if _CLASSIFIER.search(architecture):
        try:
            RewardConfig.of(config)
        except ValueError as error:
            raise NotServable(f"{option}: {model}: {error}") from None


def _check_head(option: str, model: str, folder: Path) -> None:
    """Without its head's weights a model would be given random ones, or fail at the end of its start."""
    names = _weights(folder)
    if names and not any(_HEAD.search(name) for name in names):
        raise NotServable(f"{option}: the weights of {model} hold no reward head (score.weight); {TRAIN}")


def _weights(folder: Path) -> set[str]:
    """Names of the weights in a folder of safetensors; empty where they are kept in another way."""
    from safetensors import safe_open

    names: set[str] = set()
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "pt") as file:
                names.update(file.keys())
        except Exception as error:
            raise NotServable(f"{path} cannot be read: {error}") from None
    return names


def _folder(what: str, option: str, model: str, load_format: str) -> Path | None:
    """The folder that a model's name means; None where it is a name of the Hub, a file, or elsewhere.

    load_format: vLLM's; only by "auto" are weights surely read from files of these kinds.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        if not any((path / name).is_file() for name in ("config.json", "params.json", "adapter_config.json")):
            if not any(path.glob("*.gguf")):
                raise NotServable(f"{option}: {model} holds no checkpoint: there is no config.json in it")
        elif load_format == "auto" and not any(found for pattern in _WEIGHTS for found in path.glob(pattern)):
            raise NotServable(f"{option}: {model} holds no weights (*.safetensors)")
        return path
    repository = model.rpartition(":")[0] or model  # vLLM's REPOSITORY:QUANTISATION, of GGUF files
    if path.exists() or Path(repository).is_dir() or "://" in model or os.environ.get("VLLM_USE_MODELSCOPE"):
        return None
    if _is_path(model):
        raise NotServable(f"{option}: there is no folder {model}, where {what} should be")
    _check_cache(option, repository)
    return None


def _is_path(name: str) -> bool:
    """Whether it can be no name of the Hub, be there a folder or not."""
    return "://" not in name and (name.startswith(("/", ".", "~")) or name.count("/") > 1 or name.endswith("/"))


def _check_cache(option: str, model: str) -> None:
    from huggingface_hub import constants

    fetched = Path(constants.HF_HUB_CACHE) / f"models--{model.replace('/', '--')}"
    if constants.HF_HUB_OFFLINE and not fetched.is_dir():
        raise NotServable(
            f"{option}: there is no folder {model}, and no model of that name in the Hub's cache; correct the path, or "
            "fetch the model without HF_HUB_OFFLINE"
        )


def _loaded(option: str, model: str, folder: Path | None, what: str, load: Callable[[str], Any]) -> Any:
    """None where it cannot be read and may only not have been fetched yet."""
    try:
        return load(model)
    except Exception as error:
        if folder is None:
            return None
        raise NotServable(f"{option}: the {what} of {model} cannot be read: {_first_sentence(error)}") from None


def _config(model: str) -> Any:
    """A model whose code is not in transformers is vLLM's to judge: its config comes as it was written."""
    from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig
    from transformers.utils.hub import cached_file

    path = cached_file(model, "config.json", local_files_only=True)
    written = json.loads(Path(str(path)).read_text(encoding="utf-8"))
    if "auto_map" in written or written.get("model_type") not in CONFIG_MAPPING:
        written = {key: value for key, value in written.items() if not key.startswith("rope_")}
        return PreTrainedConfig.from_dict(written)
    return AutoConfig.from_pretrained(model, local_files_only=True)


def _tokenizer(model: str) -> Any:
    """With no code of the model's own, about which transformers would ask whoever is at the terminal."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model, local_files_only=True, trust_remote_code=False)


def _first_sentence(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


# -- vLLM's application


def _check_parsers(args: Namespace) -> None:
    """As vLLM does, which raises KeyError with all names there are."""
    from vllm.reasoning import ReasoningParserManager
    from vllm.tool_parsers import ToolParserManager

    _plugin("--tool-parser-plugin", args.tool_parser_plugin, ToolParserManager.import_tool_parser)
    _plugin("--reasoning-parser-plugin", args.reasoning_parser_plugin, ReasoningParserManager.import_reasoning_parser)
    if args.enable_auto_tool_choice:
        _known("--tool-call-parser", args.tool_call_parser, ToolParserManager.list_registered())
    reasoning = args.reasoning_parser or args.structured_outputs_config.reasoning_parser
    if reasoning:
        _known("--reasoning-parser", reasoning, ReasoningParserManager.list_registered())


def _plugin(option: str, path: str | None, load: Callable[[str], Any]) -> None:
    if not path:
        return
    if (path.endswith(".py") or os.sep in path) and not Path(path).is_file():  # else it may be a module's name
        raise NotServable(f"{option}: there is no file {path}")
    try:
        load(path)
    except Exception as error:
        raise NotServable(f"{option}: {path} cannot be imported: {_first_sentence(error)}") from None


def _known(option: str, name: str, names: Sequence[str]) -> None:
    if name not in names:
        hint = _nearest(name, names, f"there are {', '.join(sorted(names))}")
        raise NotServable(f"{option}: there is no parser {name}; {hint}")


def _check_middleware(args: Namespace) -> None:
    for name in args.middleware:
        module, _, attribute = name.rpartition(".")
        try:
            getattr(import_module(module), attribute)
        except Exception as error:
            raise NotServable(f"--middleware: {name} cannot be imported: {_first_sentence(error)}") from None


def _check_adapters(args: Namespace) -> None:
    """vLLM loads them when its engine has started."""
    for module in args.lora_modules or ():
        if not Path(module.path).expanduser().is_dir() and _is_path(module.path):
            raise NotServable(f"--lora-modules: there is no folder {module.path} for {module.name}; correct the path")


def _check_http(args: Namespace) -> None:
    """uvicorn reads certificates, ciphers and its log's configuration when it is about to listen."""
    for option in ("ssl_keyfile", "ssl_certfile", "ssl_ca_certs"):
        path = getattr(args, option)
        if path is not None and not Path(path).is_file():
            raise NotServable(f"--{option.replace('_', '-')}: there is no file {path}")
    try:
        http_server.config(Starlette(), args)
    except Exception as error:
        raise NotServable(
            f"the HTTP server cannot be set up with these --ssl and --uvicorn options: {_first_sentence(error)}"
        ) from None
