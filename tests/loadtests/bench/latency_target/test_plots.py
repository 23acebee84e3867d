from pathlib import Path

from loadtests.bench.latency_target.plots import over_time
from loadtests.bench.latency_target.summary import Arrival
from measuring.plots import save


def test_the_picture_has_a_column_for_each_server(tmp_path: Path) -> None:
    seen = [Arrival(0, 1.0, 200, 0.5, 8, 1.0, correct=True), Arrival(0, 2.0, 429)]
    figure = over_time({"one": seen, "other": seen[1:]}, 1.0)
    assert [axis.get_title() for axis in figure.axes[:2]] == ["one", "other"]
    assert save(figure, tmp_path / "slo.png").stat().st_size > 10_000
