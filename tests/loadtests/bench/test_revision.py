"""What a change costs plain best-of-N, beside a commit."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from loadtests.bench.revision import environment, ratio, table, worktree


def test_the_ratio_is_of_medians_and_its_interval_over_rounds() -> None:
    generator = np.random.default_rng(0)
    theirs_s = generator.uniform(1, 2, (10, 20))
    found = ratio(np.stack([1.1 * theirs_s, theirs_s], axis=2))
    assert (found.value, found.low, found.high) == pytest.approx((1.1, 1.1, 1.1)), "what rounds share cancels"
    noisy = ratio(np.stack([generator.uniform(1, 2, (10, 20)), theirs_s], axis=2))
    assert noisy.low < 1 < noisy.high
    assert table("HEAD", np.ones((2, 3, 2)), np.ones((2, 3, 2))).row_count == 2


def test_a_commits_own_files_are_imported() -> None:
    with worktree("HEAD") as tree:
        found = subprocess.run(
            [sys.executable, "-c", "import service; print(service.__file__)"],
            env={**os.environ, **environment(tree)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert Path(found.stdout.strip()).is_relative_to(tree)
    assert not tree.exists()


def test_a_commit_that_is_none_is_named() -> None:
    with pytest.raises(ValueError, match="COMMIT no-such-commit"), worktree("no-such-commit"):
        pass
