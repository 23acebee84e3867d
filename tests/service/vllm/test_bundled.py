"""What is filled in where the command line names no model, and what the user's own choices keep."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from service.rerank.strategies.adaptive import AdaptiveOptions
from service.settings import Settings
from service.vllm.bundled import Bundled, use_bundled_policy, with_bundled_reward

DEFAULTS: dict[str, Any] = {
    "dtype": "auto",
    "enforce_eager": False,
    "kv_cache_memory_bytes": None,
    "block_size": None,
    "use_tqdm_on_load": True,
    "served_model_name": None,
    "tool_call_parser": None,
    "enable_auto_tool_choice": False,
}


@pytest.fixture
def bundled(tmp_path: Path) -> Bundled:
    profile = tmp_path / "profile.json"
    profile.write_text('{"price": 0.3}', encoding="utf-8")
    return Bundled(tmp_path / "policy", tmp_path / "reward", profile, "small")


def filled(bundled: Bundled, **given: Any) -> Namespace:
    args = Namespace(**DEFAULTS | given)
    use_bundled_policy(args, DEFAULTS, bundled)
    return args


def test_the_policy_comes_with_sizes_that_fit_it(bundled: Bundled) -> None:
    args = filled(bundled)
    assert (args.model, args.served_model_name) == (str(bundled.model), ["small"])
    assert (args.dtype, args.block_size, args.enforce_eager) == ("float32", 32, True)
    assert (args.enable_auto_tool_choice, args.tool_call_parser) == (True, "hermes")


def test_what_the_user_chose_stays(bundled: Bundled) -> None:
    args = filled(bundled, dtype="bfloat16", served_model_name=["mine"], tool_call_parser="pythonic")
    assert (args.dtype, args.served_model_name, args.tool_call_parser) == ("bfloat16", ["mine"], "pythonic")
    assert not args.enable_auto_tool_choice
    settings = with_bundled_reward(Settings(reward_engine_args={"block_size": 64}), bundled)
    assert settings.reward_engine_args["block_size"] == 64
    assert settings.reward_engine_args["enforce_eager"]


def test_the_reward_model_brings_its_profile(bundled: Bundled, tmp_path: Path) -> None:
    settings = with_bundled_reward(Settings(strategy="adaptive"), bundled)
    assert (settings.reward_model, settings.strategy) == (str(bundled.reward_model), "adaptive")
    assert settings.profile.complete(AdaptiveOptions()).price == 0.3

    own = tmp_path / "own.json"
    own.write_text('{"price": 0.1}', encoding="utf-8")
    assert (
        with_bundled_reward(Settings(strategy_profile=str(own)), bundled).profile.complete(AdaptiveOptions()).price
        == 0.1
    )
