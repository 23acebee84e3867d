"""Which policies from along the way are kept."""

import pytest

from training.run import snapshots
from training.run.config import ConfigError


def test_snapshots_are_evenly_spaced_and_end_before_the_last_step() -> None:
    assert snapshots.steps(100, 0) == []
    assert snapshots.steps(100, 4) == [20, 40, 60, 80]
    assert snapshots.steps(4, 3) == [1, 2, 3]
    with pytest.raises(ConfigError, match="policy_checkpoints"):
        snapshots.steps(3, 3)
