"""Private copies of lists that can be read only once, such as standard input."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from profilekit.errors import ConfigError
from profilekit.locking import lock, remove_leftover

__all__ = ["Copy", "private_copy"]

_PREFIX = "profilekit-input-"


class Copy:
    """A file that a list is copied into.

    Args:
        file: The file.
        name: What messages call the list.
    """

    def __init__(self, file: IO[bytes], name: str) -> None:
        """Start with nothing."""
        self.path = Path(file.name)
        self._file, self._name = file, name

    def write(self, data: bytes) -> None:
        """Append to the copy.

        Raises:
            ConfigError: When there is no room.
        """
        with _room_for(self._name):
            self._file.write(data)

    def finish(self) -> None:
        """Write what is still in memory.

        Raises:
            ConfigError: When there is no room.
        """
        with _room_for(self._name):
            self._file.flush()


@contextmanager
def private_copy(name: str, suffix: str) -> Iterator[Copy]:
    """Make a file that only its owner can read, and remove it with the block.

    Copies that killed processes have left are removed, too.

    Raises:
        ConfigError: When it cannot be made.
    """
    with _room_for(name):
        for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
            remove_leftover(left)
        file = _locked_file(suffix)
    try:
        yield Copy(file, name)
    finally:
        # Where there was no room, what is still in memory has none either.
        with suppress(OSError):
            file.close()


def _locked_file(suffix: str) -> IO[bytes]:
    """Create a file that no other process takes for a leftover while this one lives."""
    while True:
        file = tempfile.NamedTemporaryFile(prefix=_PREFIX, suffix=suffix)  # noqa: SIM115 - the caller's
        # Until it is locked, another process may remove it.
        with suppress(BlockingIOError):
            lock(file.fileno())
            if Path(file.name).exists():
                return file
        with suppress(OSError):
            file.close()


@contextmanager
def _room_for(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        folder = tempfile.gettempdir()
        raise ConfigError(
            f"cannot copy {name} to {folder}: {error.strerror}; set TMPDIR to a folder with more room"
        ) from None
