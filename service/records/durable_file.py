"""A file of whole lines: what was appended is on the disk, and what could not be appended leaves nothing behind."""

import itertools
import os
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path


class DurableFile:
    """A new file of whole lines, for its owner's eyes only. size: bytes that are known to be on the disk."""

    def __init__(self, directory: Path) -> None:
        self.size = 0
        self._path, self._descriptor = _create(directory)
        try:
            _sync_directory(directory)
        except OSError:
            self.close()
            raise

    def append(self, data: bytes) -> None:
        """Make `data` durable, all of it or nothing. Raises OSError, after which nothing may be appended any more."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
            os.fsync(self._descriptor)
        except BaseException:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self.size)
            raise
        self.size += len(data)

    @property
    def in_place(self) -> bool:
        """Whether its name still leads to it; one that was removed or moved would take what is written, for nobody."""
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._descriptor))
        except OSError:
            return False

    def close(self) -> None:
        """An empty file is removed. What was appended is durable already, so trouble here loses nothing."""
        unwanted = not self.size and self.in_place
        with suppress(OSError):
            os.close(self._descriptor)
        if unwanted:
            with suppress(OSError):
                self._path.unlink()


def prepare(directory: Path) -> None:
    """Make the directory, for its owner's eyes only where it is new. Raises OSError where no file can be made in it."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=directory):
        pass


def _create(directory: Path) -> tuple[Path, int]:
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    for number in itertools.count():
        path = directory / f"candidates-{now}-{os.getpid()}-{number:04}.jsonl"
        with suppress(FileExistsError):
            return path, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
    raise AssertionError


def _sync_directory(directory: Path) -> None:
    """Without it a power failure could take the new file's name."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
