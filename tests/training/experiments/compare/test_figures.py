"""The pictures of a comparison."""

from training.experiments.compare import figures


def test_only_what_nothing_beats_is_on_the_front() -> None:
    points = [(3.0, 0.9), (1.0, 0.5), (2.0, 0.4), (2.0, 0.8), (4.0, 0.9)]
    assert figures.front(points) == [(1.0, 0.5), (2.0, 0.8), (3.0, 0.9)]
