"""What a server counts of itself: the samples of its `/metrics`."""

from dataclasses import dataclass
from typing import Any

import httpx2


@dataclass(frozen=True)
class Scrape:
    """All samples of one moment."""

    samples: tuple[Any, ...]  # prometheus_client's, with name, labels and value

    def total(self, name: str, **labels: str) -> float:
        """The sum over the samples of that name which carry all of `labels`; 0 where there is none."""
        return float(sum(s.value for s in self.samples if s.name == name and labels.items() <= s.labels.items()))


async def scrape(client: httpx2.AsyncClient) -> Scrape:
    """Raises httpx2.HTTPError where the server has no metrics."""
    from prometheus_client.parser import text_string_to_metric_families  # of the server's extra

    text = (await client.get("/metrics")).raise_for_status().text
    return Scrape(tuple(sample for family in text_string_to_metric_families(text) for sample in family.samples))
