"""Reading live stats from files and sockets, whatever may be in them."""

import os
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from profilekit.errors import ConfigError
from profilekit.live.snapshot import MOST_BYTES, Snapshot, decode

__all__ = ["Seen", "Source", "is_at_work", "news_of", "read_file"]

# Stats come every second; after so many without any, something is wrong.
_OLD = 5.0
_NO_NEWS = "no news for {:.0f} s: the process has ended or hangs"

_CHUNK = 2**16


class Seen(msgspec.Struct, frozen=True):
    """What was found at a path.

    Attributes:
        path: The path.
        snapshot: The last stats, if there were any.
        problem: Why there are no newer ones, if that is not as it should be.
    """

    path: str
    snapshot: Snapshot | None
    problem: str | None


def news_of(snapshot: Snapshot, now: float) -> str | None:
    """Say what is wrong with stats of that age, if anything is."""
    if snapshot.has_ended:
        return None
    if not _is_running(snapshot):
        return f"process {snapshot.pid} has ended, and did not say so"
    age = now - snapshot.written
    return _NO_NEWS.format(age) if age > _OLD else None


def _silence(seconds: float) -> str:
    """Say what is wrong with somebody who serves a socket and has said nothing yet."""
    return _NO_NEWS.format(seconds) if seconds > _OLD else "nothing yet: waiting"


def is_at_work(snapshot: Snapshot, now: float) -> bool:
    """Say whether stats are of a process that goes on writing them."""
    return not snapshot.has_ended and news_of(snapshot, now) is None


def _is_running(snapshot: Snapshot) -> bool:
    """Say whether a process runs; of one on another machine, or in another container, nobody knows."""
    if snapshot.host != socket.gethostname():
        return True
    try:
        os.kill(snapshot.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def read_file(path: Path) -> bytes:
    """Return what is in a file of stats.

    Raises:
        ConfigError: When it can be none.
        OSError: When it cannot be read.
    """
    # Opening a pipe would wait for somebody to write.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        # fdopen would leave that of a folder open.
        os.close(descriptor)
        raise ConfigError("it is no file and no socket")
    with os.fdopen(descriptor, "rb") as file:
        text = file.read(MOST_BYTES + 1)
    if len(text) > MOST_BYTES:
        raise ConfigError("it holds no stats of profilekit")
    return text


class Source:
    """A path that stats are read from, again and again.

    Attributes:
        path: The path.
        is_silent: Whether somebody serves it, and has not said anything yet.
    """

    def __init__(self, path: str, now: Callable[[], float] = time.time) -> None:
        """Take a path, with or without ``unix:``, and a clock of Unix time."""
        self.path = path
        self._now, self._called = now, 0.0
        self._where = Path(path.removeprefix("unix:"))
        self._socket: socket.socket | None = None
        self._begun = b""
        self._last: Snapshot | None = None

    @property
    def is_silent(self) -> bool:
        """Whether somebody serves it, and has not said anything yet."""
        return self._socket is not None and self._last is None

    def read(self) -> Seen:
        """Return the newest stats that are there, without waiting for any."""
        try:
            text = self._received() if self._is_served() else read_file(self._where)
            if text is not None:
                self._last = decode(text)
        except (ConfigError, OSError) as error:
            self.close()
            return self._without(_why(error))
        if self._last is None:
            return Seen(self.path, None, _silence(self._now() - self._called))
        return Seen(self.path, self._last, news_of(self._last, self._now()))

    def _without(self, why: str) -> Seen:
        if self._last is not None and self._last.has_ended:
            # Its socket went with it.
            return Seen(self.path, self._last, None)
        return Seen(self.path, self._last, why)

    def _is_served(self) -> bool:
        return self._socket is not None or stat.S_ISSOCK(self._where.stat().st_mode)

    def _received(self) -> bytes | None:
        """Return the last whole line that has come, if one has."""
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.setblocking(False)
            self._socket.connect(str(self._where))
            self._called = self._now()
        self._begun += _at_hand(self._socket)
        *lines, self._begun = self._begun.split(b"\n")
        if len(self._begun) > MOST_BYTES:
            raise ConfigError("it serves no stats of profilekit")
        if not lines:
            return None
        return lines[-1]

    def close(self) -> None:
        """Let go of it."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self._begun = None, b""


def _at_hand(connection: socket.socket) -> bytes:
    """Return what has come, of somebody who sends without end the beginning.

    Raises:
        ConnectionResetError: When that is nothing, and nothing will come.
    """
    chunks: list[bytes] = []
    try:
        while sum(map(len, chunks)) <= MOST_BYTES:
            chunks.append(connection.recv(_CHUNK))
            if not chunks[-1]:
                break
    except BlockingIOError:
        return b"".join(chunks)
    if chunks == [b""]:
        raise ConnectionResetError
    return b"".join(chunks)


def _why(error: ConfigError | OSError) -> str:
    """Say why there are no stats."""
    if isinstance(error, FileNotFoundError):
        return "not there yet: waiting"
    if isinstance(error, ConnectionError):
        return "nobody serves it: the process has ended"
    if isinstance(error, PermissionError):
        return "it belongs to somebody else, and may not be read"
    return str(error) if isinstance(error, ConfigError) else str(error.strerror or error)
