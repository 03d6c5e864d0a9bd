"""Where live stats are written to: a file that is replaced, or a socket that serves whoever connects."""

import contextlib
import errno
import os
import socket
import stat
import tempfile
import time
from glob import escape
from pathlib import Path
from typing import Protocol

from profilekit.errors import ConfigError
from profilekit.live.snapshot import Snapshot, decode, is_of_another_version
from profilekit.live.sources import is_at_work, read_file

__all__ = ["File", "Outlet", "Socket", "outlet_for"]

# The shortest of the systems' limits for the address of a socket.
_LONGEST_ADDRESS = 103


class Outlet(Protocol):
    """Takes lines. All but its making happens in one thread.

    Attributes:
        name: What messages call it.
    """

    name: str

    def write(self, line: bytes) -> None:
        """Show a line to whoever looks, in place of the one before.

        Raises:
            OSError: When it cannot be written.
        """
        ...

    def close(self) -> None:
        """Show nothing more."""
        ...


def outlet_for(path: str | os.PathLike[str]) -> Outlet:
    """Return the outlet that a path means.

    Raises:
        ConfigError: When it cannot be used.
    """
    if not isinstance(path, str | os.PathLike) or not str(path) or "\0" in str(path):
        raise ConfigError(f"Live: path must be the path of a file or of a socket, got {path!r}")
    text = os.fspath(path)
    where = Path(text.removeprefix("unix:")).absolute()
    if not os.access(where.parent, os.W_OK | os.X_OK):
        raise ConfigError(f"Live: {where.parent} is no folder that can be written to")
    return Socket(where) if text.startswith("unix:") or where.suffix == ".sock" else File(where)


class File:
    """A file that is replaced whole, so that nobody ever reads half of one.

    Attributes:
        name: Its path.
    """

    def __init__(self, path: Path) -> None:
        """Take its path.

        Raises:
            ConfigError: When there is something else, or another process writes to it.
        """
        self._path, self.name = path, str(path)
        with contextlib.suppress(FileNotFoundError):
            _check_file(path)
        for left in path.parent.glob(f".{escape(path.name)}.*.part"):
            # Of a process that was killed while it wrote.
            left.unlink(missing_ok=True)

    def write(self, line: bytes) -> None:
        """Replace the file."""
        descriptor, beside = tempfile.mkstemp(
            dir=self._path.parent, prefix=f".{self._path.name}.", suffix=".part"
        )
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(line)
            Path(beside).replace(self._path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(beside).unlink()
            raise

    def close(self) -> None:
        """Leave what was written last: it says that all has ended."""


class Socket:
    """A socket that shows each line to all who are connected. Whoever is too slow has to connect again.

    Attributes:
        name: Its path.
    """

    def __init__(self, path: Path) -> None:
        """Take its path; it is made with the first line.

        Raises:
            ConfigError: When there is something else, or another process serves it.
        """
        if not hasattr(socket, "AF_UNIX"):
            raise ConfigError("Live: this system has no such sockets: give the path of a file")
        if len(os.fsencode(path)) > _LONGEST_ADDRESS:
            raise ConfigError(f"Live: {path} is longer than the path of a socket may be")
        self._path, self.name = path, str(path)
        self._server: socket.socket | None = None
        self._made = 0
        self._viewers: list[socket.socket] = []
        try:
            _make_room(path)
        except OSError as error:
            raise ConfigError(f"Live: {path}: {error.strerror}") from None

    def write(self, line: bytes) -> None:
        """Send a line to all who have connected by now."""
        server = self._server or self._listen()
        viewers = [*self._viewers, *_who_called(server)]
        self._viewers = [viewer for viewer in viewers if _takes(viewer, line)]

    def _listen(self) -> socket.socket:
        _make_room(self._path)
        server = socket.socket(socket.AF_UNIX)
        try:
            server.setblocking(False)
            server.bind(self.name)
            # Before it listens, so that nobody else ever gets through.
            self._path.chmod(0o600)
            server.listen()
        except BaseException:
            server.close()
            raise
        self._server, self._made = server, self._path.stat().st_ino
        return server

    def close(self) -> None:
        """Hang up, and take the socket away."""
        for viewer in self._viewers:
            viewer.close()
        self._viewers = []
        if self._server is not None:
            self._server.close()
            self._server = None
            with contextlib.suppress(OSError):
                if self._path.stat().st_ino == self._made:
                    self._path.unlink()


def _check_file(path: Path) -> None:
    """Refuse to replace a file that is not of stats, or that another process replaces.

    Raises:
        ConfigError: Says which.
        FileNotFoundError: When there is none.
    """
    last = _last_in(path)
    if last is not None and _is_of_another(last) and is_at_work(last, time.time()):
        raise ConfigError(f"Live: process {last.pid} writes to {path}: each takes a file of its own")


def _is_of_another(last: Snapshot) -> bool:
    """Say whether another process of this machine has written it: only of that is known if it runs."""
    return last.host == socket.gethostname() and last.pid != os.getpid()


def _last_in(path: Path) -> Snapshot | None:
    """Return the stats in a file, if it is empty or one of ours that we cannot read, None."""
    try:
        text = read_file(path)
        return decode(text) if text and not is_of_another_version(text) else None
    except FileNotFoundError:
        raise
    except (ConfigError, OSError):
        raise ConfigError(f"Live: {path} is there, and is no file of stats: name another") from None


def _make_room(path: Path) -> None:
    """Take away the socket of a process that is no more.

    Raises:
        OSError: When it is something else, or somebody serves it.
    """
    with contextlib.suppress(FileNotFoundError), socket.socket(socket.AF_UNIX) as probe:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(errno.EEXIST, "it is there, and is no socket: name another")
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            # Many want to be let in.
            pass
        raise OSError(errno.EADDRINUSE, "another process serves it: each takes one of its own")


def _who_called(server: socket.socket) -> list[socket.socket]:
    """Let in whoever waits at the door."""
    viewers = []
    with contextlib.suppress(BlockingIOError, ConnectionError):
        while True:
            viewer, _ = server.accept()
            viewer.setblocking(False)
            viewers.append(viewer)
    return viewers


def _takes(viewer: socket.socket, line: bytes) -> bool:
    """Send a line, and hang up on whoever does not take all of it."""
    with contextlib.suppress(OSError):
        if viewer.send(line) == len(line):
            return True
    viewer.close()
    return False
