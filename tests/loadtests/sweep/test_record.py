from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from loadtests.sweep.record import Cell, Place, SweepError, SweepRecord, ask_server
from measuring.answers import Answer
from measuring.loops import Load
from tests.loadtests.sweep.records import SETTINGS, record


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    kept = record()
    kept.write(tmp_path / "new" / "sweep.json")
    assert SweepRecord.read(tmp_path / "new" / "sweep.json") == kept


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"settings": replace(SETTINGS, requests=5)}, "requests was 3 and is 5"),
        ({"settings": replace(SETTINGS, workload={"prompts": "reviews"})}, "workload was "),
        ({"settings": replace(SETTINGS, prompts_sha256="b")}, "prompts_sha256 was 'a' and is 'b'"),
        ({"url": "http://elsewhere"}, "base_url was 'http://there' and is 'http://elsewhere'"),
        ({"server": {"models": ["other"]}}, "server was "),
        ({"measured_with": {"machine": {"cores": 64}}}, "machine was "),
    ],
)
def test_cells_of_another_sweep_are_not_added_to(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = tmp_path / "sweep.json"
    record().write(path)
    found = SweepRecord.read(path)
    found.check_resumable(replace(record(), cells=(), command="again"), path)
    with pytest.raises(SweepError) as caught:
        found.check_resumable(replace(record(), **change), path)  # type: ignore[arg-type]
    assert message in str(caught.value)
    assert "Give another --output" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not JSON"), ("{}", "format"), ('{"format": "bestofn sweep 1", "url": 3}', "settings: Field required")],
)
def test_a_file_that_is_no_record_says_so(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "sweep.json"
    path.write_text(text)
    with pytest.raises(SweepError, match=message):
        SweepRecord.read(path)


def test_a_cell_keeps_what_is_counted_of_each_answer() -> None:
    body = {
        "usage": {"completion_tokens": 80},
        "rerank": {"reward": 0.5, "tokens": {"returned": 10}, "cost": {"total": 0.25}},
    }
    done = Answer(0, 200, due_s=0.5, latency_s=1.23456789, first_byte_s=0.1, body=body)
    refused = Answer(1, 429, due_s=1.0, latency_s=0.01, retry_after_s=3.0, error="HTTP 429: full")
    cell = Cell.of(Place(repeat=1, best_of=8, clients=2, order=5), Load((done, refused)))
    assert (cell.place, cell.order, cell.wall_s) == ((1, 8, 2), 5, 1.734568)
    first, second = cell.requests
    assert (first.started_s, first.latency_s, first.first_byte_s) == (0.5, 1.234568, 0.1)
    assert (first.generated_tokens, first.returned_tokens, first.reward, first.dollars) == (80, 10, 0.5, 0.25)
    assert (second.refused, second.retry_after_s, second.error) == (True, 3.0, "HTTP 429: full")
    assert list(cell.succeeded) == [first]


async def test_a_server_is_known_by_its_models_versions_and_build() -> None:
    answers = {
        "/v1/models": httpx2.Response(200, json={"data": [{"id": "m"}, {"id": "m:best-of-8"}]}),
        "/version": httpx2.Response(200, json={"version": "1"}),
        "/metrics": httpx2.Response(200, text='bestofn_build_info{version="2"} 1.0\n'),
    }
    transport = httpx2.MockTransport(lambda request: answers.get(request.url.path, httpx2.Response(404)))
    async with httpx2.AsyncClient(base_url="http://there", transport=transport) as client:
        known = await ask_server(client)
        del answers["/metrics"], answers["/version"]
        plain = await ask_server(client)
    assert known == {"models": ["m"], "versions": {"version": "1"}, "build_info": 'version="2"'}
    assert plain == {"models": ["m"], "versions": {}, "build_info": ""}
