"""Slopes with intervals, what memory is made of, and a short load over the tiny server."""

import os
import random
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from loadtests.bench.faults.memory import (
    Region,
    Sample,
    load,
    mappings,
    most_grown,
    processes,
    read,
    report,
    slope,
    take,
    watch,
)
from measuring.estimators import Floats
from tests.loadtests.bench.faults.lives import tiny_life

SECONDS = [10.0 * number for number in range(120)]


def noise(scale: float, seed: int) -> Floats:
    return np.random.default_rng(seed).normal(0, scale, len(SECONDS))


def test_a_line_has_its_slope_and_an_interval_around_it() -> None:
    found = slope(SECONDS, 500 + 36 * np.asarray(SECONDS) / 3600 + noise(0.5, 1))
    assert found.low < 36 < found.high
    assert found.high - found.low < 4
    assert not found.is_flat


@pytest.mark.parametrize("seed", range(5))
def test_noise_alone_is_flat(seed: int) -> None:
    assert slope(SECONDS, 500 + noise(2, seed)).is_flat


def test_intervals_cover_the_true_slope_about_as_often_as_they_should() -> None:
    found = [slope(SECONDS, 36 * np.asarray(SECONDS) / 3600 + noise(1, seed), seed) for seed in range(60)]
    covered = sum(one.low <= 36 <= one.high for one in found)
    assert 48 <= covered <= 60


def test_what_falls_is_flat_too_and_what_grows_a_little() -> None:
    assert slope(SECONDS, -100 * np.asarray(SECONDS) / 3600).is_flat
    assert slope(SECONDS, 2 * np.asarray(SECONDS) / 3600).is_flat


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="5 samples are too few"):
        slope(SECONDS[:5], [1.0] * 5)


def test_a_large_mapping_is_told_from_the_heap() -> None:
    process = psutil.Process(os.getpid())
    before = take("me", process, 0.0)
    held = np.ones(8 * 2**20)  # 64 MB, a mapping of its own
    after = take("me", process, 1.0)
    assert after.large - before.large == pytest.approx(64, abs=8)
    assert after.rss - before.rss == pytest.approx(64, abs=8)
    assert after.heap - before.heap < 8
    assert held.sum() > 0


def test_where_memory_went_is_named_by_its_mapping() -> None:
    before = {"a": Region(64, 10), "b": Region(64, 64), "c": Region(8, 8)}
    after = {"a": Region(64, 40), "b": Region(64, 64.5), "d": Region(4, 3), "e": Region(132, 2)}
    assert most_grown(before, after) == ["+30 MB to 40 of 64 MB", "+5 MB in mappings that are new"]
    assert most_grown(before, before) == []
    assert sum(region.rss for region in mappings(psutil.Process()).values()) > 10


def test_only_processes_that_grow_after_the_warm_up_are_named() -> None:
    def sample(process: str, at_s: float, rss: float) -> Sample:
        return Sample(process, at_s, rss, rss, 0.0, 0.0, 1)

    warm = [sample("flat", 10.0 * number, 100 + 10 * number) for number in range(10)]
    flat = [sample("flat", 100 + 10.0 * number, 300) for number in range(20)]
    grows = [sample("grows", 100 + 10.0 * number, 300 + number) for number in range(20)]
    table, growing = report([*warm, *flat, *grows], 100)
    assert table.row_count == 2
    assert growing == ["grows: +360.0 MB an hour"]


async def test_a_server_under_load_is_watched(tmp_path: Path) -> None:
    async with tiny_life(tmp_path) as life:
        assert list(processes(life)) == ["api"]
        began_s = time.monotonic()
        samples: list[Sample] = []
        asked = await load(life, began_s + 0.3, random.Random(0))
        assert list(await watch(life, began_s, time.monotonic() - 1, samples)) == ["api"]
        assert asked >= 6
        assert samples == []


def test_half_an_hour_is_the_default() -> None:
    found = read([])
    assert (found.minutes, found.warm_up, found.environment) == (30, 5, [])
