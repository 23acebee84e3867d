import pytest

from loadtests.bench.ratio import Ratio


@pytest.mark.parametrize(("goal", "at_most", "met"), [(1.0, True, "no"), (1.1, True, "yes"), (1.05, False, "yes")])
def test_the_median_is_held_against_the_goal(goal: float, at_most: bool, met: str) -> None:
    row = Ratio("latency", [1.0, 1.05, 1.1, 9.0, 1.05], goal, at_most).row()
    assert row == ("latency", "1.050", "1.025 - 5.050", f"{'≤' if at_most else '≥'} {goal}", met)
