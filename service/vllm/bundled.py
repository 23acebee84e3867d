"""`bestofn serve LAB`: checkpoints that ship with the package, and sizes that fit them."""

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.settings import Settings

# Arguments of a vLLM engine that suit a model of a million parameters on any machine.
REWARD_ENGINE_ARGS: Mapping[str, Any] = {
    "enforce_eager": True,
    "kv_cache_memory_bytes": 256 * 2**20,
    "block_size": 32,
    "use_tqdm_on_load": False,
}
_POLICY_ENGINE_ARGS: Mapping[str, Any] = {"dtype": "float32", **REWARD_ENGINE_ARGS}


@dataclass(frozen=True)
class Bundled:
    """What is served for the name of a lab."""

    # The policy's checkpoint: a folder.
    model: Path
    # The reward model that was trained for it: a folder.
    reward_model: Path
    # JSON file that sets the strategies for both, where they have one.
    strategy_profile: Path | None
    # Name of the policy in requests and in /v1/models.
    served_name: str


def use_bundled_policy(args: Namespace, defaults: Mapping[str, Any], bundled: Bundled) -> None:
    """Fill in the model, and sizes that fit it, for whatever the user left at its default."""
    args.model = str(bundled.model)
    args.served_model_name = args.served_model_name or [bundled.served_name]
    for name, value in _POLICY_ENGINE_ARGS.items():
        if getattr(args, name) == defaults[name]:
            setattr(args, name, value)
    if args.tool_call_parser is None:
        args.enable_auto_tool_choice, args.tool_call_parser = True, "hermes"


def with_bundled_reward(settings: Settings, bundled: Bundled) -> Settings:
    """The reward model that belongs to the bundled policy, sizes that fit it, and how strategies are set for it."""
    profile = bundled.strategy_profile
    changes = {
        "reward_model": str(bundled.reward_model),
        "reward_engine_args": {**REWARD_ENGINE_ARGS, **settings.reward_engine_args},
        "strategy_profile": settings.strategy_profile or (profile and str(profile)),
    }
    return settings.model_copy(update=changes)
