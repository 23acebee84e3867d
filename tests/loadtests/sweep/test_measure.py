from dataclasses import asdict, replace
from pathlib import Path

from loadtests.sweep.measure import measure, order
from loadtests.sweep.record import SweepRecord, SweepSettings
from loadtests.workload import Mix, workload_path
from tests.loadtests.sweep.records import SETTINGS
from tests.training.openai_endpoint import Endpoint, completion, serving


def test_each_repeat_measures_the_whole_grid_in_an_order_of_its_own() -> None:
    settings = replace(SETTINGS, best_of=(1, 2, 4, 8), clients=(1, 2, 4))
    places = list(order(settings))
    assert places == list(order(settings)) != list(order(replace(settings, seed=1)))
    assert [place.order for place in places] == list(range(24))
    first, second = places[:12], places[12:]
    assert {(p.best_of, p.clients) for p in first} == {(p.best_of, p.clients) for p in second} == set(settings.cells)
    assert [(p.best_of, p.clients) for p in first] != [(p.best_of, p.clients) for p in second]


async def test_only_cells_that_are_missing_are_measured(tmp_path: Path) -> None:
    mix = Mix.load(workload_path("sums"), prompt_count=5)
    settings = replace(SETTINGS, best_of_field="n", workload=asdict(mix.workload), prompts_sha256=mix.prompts_sha256)
    path = tmp_path / "sweep.json"
    with serving(lambda body: (200, completion("x"))) as there:
        whole = await _measured(there, settings, mix, path)
        assert len(there.requests) == 2 * 2 * (3 + 1) + 2 * 2 * (3 + 4), "of 1 and of 4 clients, each of which warms up"
        replace(whole, cells=whole.cells[:-1]).write(path)
        there.requests.clear()
        again = await _measured(there, settings, mix, path)
    last = whole.cells[-1]
    assert len(there.requests) == 3 + last.clients
    assert {body.get("n", 1) for body in there.requests} == {last.best_of}
    assert again.cells[:-1] == whole.cells[:-1]
    assert again.cells[-1].place == last.place
    assert SweepRecord.read(path) == again


async def _measured(there: Endpoint, settings: SweepSettings, mix: Mix, path: Path) -> SweepRecord:
    return await measure(settings, mix, there.url, "", path)
