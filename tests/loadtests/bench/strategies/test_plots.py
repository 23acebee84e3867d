from loadtests.bench.strategies.plots import picture
from tests.loadtests.bench.strategies.shots import measured


def test_the_picture_has_a_panel_for_each_question() -> None:
    figure = picture(measured())
    assert [axis.get_title() for axis in figure.axes] == ["One client", "Some clients", "Open loop"]
    legends = [axis.get_legend() for axis in figure.axes]
    names = [[text.get_text() for text in legend.get_texts()] for legend in legends if legend]
    assert names == [["best of 32", "prune"], ["best_of_n", "adaptive"], ["best of 16", "deadline"]]
