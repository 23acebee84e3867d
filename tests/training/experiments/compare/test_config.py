"""What a comparison may be set to."""

import re
from typing import Any

import pytest

from training.experiments.compare.config import CompareConfig
from training.run.config import ConfigError

GIVEN: dict[str, Any] = {"lab": "arithmetic", "reward_model": "r", "policies": {"SFT": {"model": "m"}}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"policies": {}}, "policies: required"),
        ({"policies": {"SFT": {}}}, "policies.SFT.model: required"),
        ({"policies": {"SFT": {"model": "m", "minutes": 3}}}, "policies.SFT.minutes: unknown"),
        ({"policies": {"SFT": {"model": "m", "trained": "m"}}}, "policies.SFT.trained: expected a list"),
        ({"best_of": "2,4"}, "best_of: must hold 1"),
        ({"best_of": "1,two"}, "best_of: expected positive numbers"),
        ({"clients": "0"}, "clients: expected positive numbers"),
        ({"requests": 20}, "requests: must be a multiple of the most clients, 8"),
        ({"lab": ""}, "lab: required"),
        ({"n": 3}, "unknown setting 'n'"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        CompareConfig.of({**GIVEN, **change})
