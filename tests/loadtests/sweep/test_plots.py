import pytest

from loadtests.sweep.plots import all_of, cost, latency
from loadtests.sweep.summary import summarise
from tests.loadtests.sweep.records import record


def test_lines_are_named_beside_their_ends() -> None:
    figure = latency(summarise(record()))
    assert [axis.get_title() for axis in figure.axes] == ["p50", "p95"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["1 client", "4 clients"]
    heights = [text.get_position()[1] for text in figure.axes[0].texts]
    assert heights[1] - heights[0] >= 0.049, "both lines end at the same place, their names do not"


@pytest.mark.parametrize(("dollars", "pictures"), [(None, 1), (0.25, 2)])
def test_dollars_are_drawn_where_there_are_prices(dollars: float | None, pictures: int) -> None:
    rows = summarise(record(dollars=dollars))
    assert len(cost(rows).axes) == pictures
    assert len(all_of(rows)) == 3
