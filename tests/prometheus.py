"""What a running Prometheus knows, over its HTTP API."""

import json
import math
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

WITHIN_S = 60


class Watched:
    """A Prometheus that watches one server."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1"

    def get(self, path: str, **parameters: str) -> Any:
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self._url}/{path}?{query}", timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{path} {parameters}: {error.read().decode()}") from None

    def scraped_url(self) -> str:
        """Of its only target, which it finds a few seconds after its start."""
        ends_s = time.monotonic() + WITHIN_S
        while not (targets := self.get("targets")["activeTargets"]):
            assert time.monotonic() < ends_s
            time.sleep(0.2)
        return str(targets[0]["scrapeUrl"])

    def has_a_number(self, expression: str) -> bool:
        data = self.get("query", query=expression)
        values = [data["result"]] if data["resultType"] == "scalar" else [series["value"] for series in data["result"]]
        return any(math.isfinite(float(value)) for _, value in values)
