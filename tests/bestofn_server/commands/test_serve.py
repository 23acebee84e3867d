import os

import pytest

from bestofn_server.commands.serve import _quieten, bundled
from service.rerank.strategies.adaptive import AdaptiveOptions
from service.rerank.strategies.profile import StrategyProfile
from training.labs import model_path


def test_the_bundled_models_are_those_of_the_lab_arithmetic() -> None:
    found = bundled()
    assert found.served_name == "arithmetic"
    assert str(found.model) == model_path("arithmetic-sft")
    assert str(found.reward_model) == model_path("arithmetic-reward")
    profile = StrategyProfile.read(str(found.strategy_profile))
    adaptive = profile.complete(AdaptiveOptions())
    assert adaptive.price == 0.3
    assert adaptive.prior != AdaptiveOptions().prior


@pytest.mark.parametrize(
    ("arguments", "environment", "level"),
    [
        ([], None, "ERROR"),
        (["--port", "8001"], None, "ERROR"),
        ([], "INFO", "INFO"),
        (["--log-level", "INFO"], None, None),
        (["--log_level=INFO"], None, None),
        (["--logging-config", "{}"], None, None),
    ],
)
def test_vllm_reports_errors_alone_unless_somebody_asks_for_more(
    arguments: list[str], environment: str | None, level: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("VLLM_LOGGING_LEVEL", environment), ("PYTHONWARNINGS", None)):
        monkeypatch.setenv(name, value or "")  # so that whatever is set is undone
        if value is None:
            monkeypatch.delenv(name)
    _quieten(arguments)
    assert os.environ.get("VLLM_LOGGING_LEVEL") == level
    assert os.environ.get("PYTHONWARNINGS") == ("ignore::FutureWarning" if level == "ERROR" else None)
