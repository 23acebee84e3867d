"""A log that is taken away, and a disk without room, for a server whose log is naive."""

from pathlib import Path

from loadtests.bench.faults import disk
from tests.loadtests.bench.faults.lives import tiny_life


async def test_records_in_a_file_that_was_moved_are_found(tmp_path: Path) -> None:
    (tmp_path / "aside").mkdir()
    async with tiny_life(tmp_path) as life:
        fault = await disk.moved(life, tmp_path / "aside")
        assert (fault.records_lost, fault.wrong) == (0, [])
        assert fault.count("answer") > 0


async def test_records_in_a_file_that_was_removed_are_lost_and_were_counted_as_written(tmp_path: Path) -> None:
    async with tiny_life(tmp_path) as life:
        fault = await disk.removed(life, tmp_path)
        assert fault.records_lost == fault.count("answer") > 0
        assert "records were counted as written" in fault.wrong[1]


async def test_a_full_disk_and_room_again(tmp_path: Path) -> None:
    async with tiny_life(tmp_path) as life:
        fault = await disk.full(life)
        assert fault.count("answer") == len(fault.judged) > 0
        assert not [line for line in fault.wrong if "counted as written" in line]
