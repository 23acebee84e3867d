"""How the benchmark of the trainers counts; what it measures takes minutes."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from loadtests.bench.training import Duel, Meter
from training.reward.data import Group


def test_a_duel_leaves_its_first_round_out_and_alternates() -> None:
    order: list[str] = []
    speeds = iter([1.0, 200.0, 200.0, 200.0, 200.0, 200.0])

    def ours(folder: Path) -> float:
        assert folder.is_dir()
        order.append("ours")
        return next(speeds)

    def other(folder: Path) -> float:
        order.append("other")
        return 100.0

    row = Duel("SFT over TRL", ours, other, goal=1.5).row()
    assert row == ("SFT over TRL", "200", "100", "2.000", "2.000 - 2.000", "≥ 1.5", "yes")
    assert order == ["other", "ours", "ours", "other"] * 3


def test_a_meter_counts_whole_conversations_between_its_marks() -> None:
    meter = Meter(lambda rows: {"attention_mask": np.array([[1, 1, 0], [1, 1, 1]])})
    sequences = (np.zeros(4, np.int32), np.zeros(6, np.int32))
    group = Group(sequences, 3, (0, 1), np.empty((2, 0), np.float32), 0.0, np.ones(1, np.float32))
    for step in range(1, 25):
        meter([group] if step % 2 else [{}, {}])
        meter.on_step_end(None, SimpleNamespace(global_step=step), None)
    (_, before), (_, after) = meter._marks
    assert before == 2 * (10 + 5)
    assert after - before == 10 * (10 + 5), "a prompt counts with each of its answers, padding never"
    assert meter.tokens_per_second() > 0
