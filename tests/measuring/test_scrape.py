import httpx2
import pytest

from measuring.scrape import scrape

METRICS = """\
# TYPE bestofn_requests counter
bestofn_requests_total{outcome="ok",endpoint="chat"} 3
bestofn_requests_total{outcome="ok",endpoint="completions"} 2
bestofn_requests_total{outcome="overloaded",endpoint="chat"} 1
# TYPE bestofn_candidates_in_flight gauge
bestofn_candidates_in_flight 4
"""


def serving(status: int) -> httpx2.AsyncClient:
    transport = httpx2.MockTransport(lambda request: httpx2.Response(status, text=METRICS))
    return httpx2.AsyncClient(base_url="http://there", transport=transport)


async def test_a_total_is_over_the_labels_that_are_left_open() -> None:
    seen = await scrape(serving(200))
    assert seen.total("bestofn_requests_total") == 6
    assert seen.total("bestofn_requests_total", outcome="ok") == 5
    assert seen.total("bestofn_requests_total", outcome="ok", endpoint="chat") == 3
    assert seen.total("bestofn_candidates_in_flight") == 4
    assert seen.total("vllm:num_requests_running") == 0


async def test_a_server_without_metrics_is_an_error() -> None:
    with pytest.raises(httpx2.HTTPStatusError):
        await scrape(serving(404))
