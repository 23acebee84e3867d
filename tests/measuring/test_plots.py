from pathlib import Path
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure

from measuring.estimators import Interval
from measuring.plots import GREY, finish, intervals, over_sizes, save, svg


def picture() -> Figure:
    figure = Figure()
    axis = figure.subplots()
    intervals(axis, [1, 4], [Interval(0.5, 0.4, 0.7), Interval(0.8, 0.9, 0.8)], GREY, "gold", "o-")
    over_sizes(axis, [1, 4])
    axis.set_xlabel("best of N")
    finish(axis)
    return figure


def test_a_value_stands_in_its_interval_even_where_the_interval_does_not_hold_it() -> None:
    (bars,) = picture().axes[0].containers
    segments = bars[2][0].get_segments()
    assert segments[0][:, 1].tolist() == pytest.approx([0.4, 0.7])
    assert segments[1][:, 1].tolist() == pytest.approx([0.8, 0.8]), "a bar of negative length cannot be drawn"


def test_sizes_are_the_only_ticks() -> None:
    axis = picture().axes[0]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["1", "4"]
    assert list(axis.get_xticks(minor=True)) == []


def test_an_element_for_a_page_is_the_same_whenever_it_is_drawn() -> None:
    element = svg(picture())
    assert element == svg(picture())
    assert "best of N" in "".join(ElementTree.fromstring(element).itertext())


def test_a_file_is_large_enough_to_be_read(tmp_path: Path) -> None:
    assert save(picture(), tmp_path / "picture.png").stat().st_size > 10_000
