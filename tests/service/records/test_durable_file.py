"""Files that hold whole lines, whatever happens to the disk or the process."""

import errno
import os
import stat
from pathlib import Path

import pytest

from service.records.durable_file import DurableFile, prepare


def only_file(directory: Path) -> Path:
    (path,) = directory.iterdir()
    return path


def test_what_was_appended_is_there_for_its_owner_only(tmp_path: Path) -> None:
    file = DurableFile(tmp_path)
    file.append(b"one\n")
    file.append(b"two\n")
    path = only_file(tmp_path)
    assert path.read_bytes() == b"one\ntwo\n"
    assert file.size == 8
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    file.close()


def test_every_file_is_a_new_one(tmp_path: Path) -> None:
    files = [DurableFile(tmp_path) for _ in range(3)]
    for number, file in enumerate(files):
        file.append(b"%d\n" % number)
        file.close()
    assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == [b"0\n", b"1\n", b"2\n"]


def test_a_file_that_nothing_was_appended_to_is_removed(tmp_path: Path) -> None:
    DurableFile(tmp_path).close()
    assert list(tmp_path.iterdir()) == []


def test_writes_that_the_system_cuts_short_are_carried_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    file = DurableFile(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
        file.append(b"a long line\n")
    assert only_file(tmp_path).read_bytes() == b"a long line\n"
    file.close()


@pytest.mark.parametrize("broken", ["write", "fsync"])
def test_what_fails_half_way_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    file = DurableFile(tmp_path)
    file.append(b"whole\n")
    write, full = os.write, OSError(errno.ENOSPC, "No space left on device")
    wrote: list[int] = []

    def write_a_little(descriptor: int, data: bytes) -> int:
        if wrote:
            raise full
        wrote.append(write(descriptor, data[:4]))
        return wrote[0]

    def fail(descriptor: int) -> None:
        raise full

    with monkeypatch.context() as patch:
        patch.setattr(os, broken, {"write": write_a_little, "fsync": fail}[broken])
        with pytest.raises(OSError, match="No space"):
            file.append(b"not to be\n")
    assert only_file(tmp_path).read_bytes() == b"whole\n"
    file.close()


def test_a_directory_is_made_for_its_owner_only(tmp_path: Path) -> None:
    prepare(tmp_path / "a" / "b")
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_directory_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    prepare(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match=r"file"):
            prepare(path)


def test_a_file_knows_whether_its_name_still_leads_to_it(tmp_path: Path) -> None:
    file = DurableFile(tmp_path)
    path = only_file(tmp_path)
    found = [file.in_place]
    path.rename(tmp_path / "moved")
    found.append(file.in_place)
    path.write_text("another")
    assert [*found, file.in_place] == [True, False, False]
    file.close()
    assert {each.name for each in tmp_path.iterdir()} == {path.name, "moved"}
