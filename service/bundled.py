"""`bestofn serve` without a model: the checkpoints of the lab `arithmetic` that ship with the package."""

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from service.settings import Settings

_SIZES = {"dtype": "float32", "enforce_eager": True, "kv_cache_memory_bytes": 256 * 2**20, "block_size": 32}


def use_bundled(args: Namespace, settings: Settings, defaults: Mapping[str, Any]) -> Settings:
    """Fill in models and sizes that fit them, for whatever the user left at its default."""
    from training.labs import checkpoint

    args.model = str(checkpoint("arithmetic-sft"))
    args.served_model_name = args.served_model_name or ["arithmetic"]
    for name, value in _SIZES.items():
        if getattr(args, name) == defaults[name]:
            setattr(args, name, value)
    if args.tool_call_parser is None:
        args.enable_auto_tool_choice, args.tool_call_parser = True, "hermes"
    if settings.reward_model is not None:
        return settings
    return settings.model_copy(
        update={
            "reward_model": str(checkpoint("arithmetic-reward")),
            "reward_engine_args": _SIZES | settings.reward_engine_args,
        }
    )
