"""`bestofn serve` without a model: the checkpoints of the lab `arithmetic` that ship with the package."""

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from service.settings import Settings
from training.labs import checkpoint

_SIZES = {"dtype": "float32", "enforce_eager": True, "kv_cache_memory_bytes": 256 * 2**20, "block_size": 32}


def use_bundled_policy(args: Namespace, defaults: Mapping[str, Any]) -> None:
    """Fill in the model, and sizes that fit it, for whatever the user left at its default."""
    args.model = str(checkpoint("arithmetic-sft"))
    args.served_model_name = args.served_model_name or ["arithmetic"]
    for name, value in _SIZES.items():
        if getattr(args, name) == defaults[name]:
            setattr(args, name, value)
    if args.tool_call_parser is None:
        args.enable_auto_tool_choice, args.tool_call_parser = True, "hermes"


def with_bundled_reward(settings: Settings) -> Settings:
    """The reward model that belongs to the bundled policy, sizes that fit it, and how strategies are set for it."""
    sizes = {name: value for name, value in _SIZES.items() if name != "dtype"}
    arguments = sizes | settings.reward_engine_args
    model = checkpoint("arithmetic-reward")
    profile = settings.strategy_profile or str(model / "strategy_profile.json")
    changes = {"reward_model": str(model), "reward_engine_args": arguments, "strategy_profile": profile}
    return settings.model_copy(update=changes)
