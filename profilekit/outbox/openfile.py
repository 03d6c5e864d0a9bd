"""An outbox file that is open: one owner, a connection, and a watch on its files. For one thread."""

import logging
import os
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from profilekit._printable import printable
from profilekit.errors import OutboxError
from profilekit.outbox.file import DAMAGED, explained, make, reopen, transaction
from profilekit.outbox.files import Files, copy_bytes
from profilekit.outbox.lock import Lock
from profilekit.outbox.rescue import rescued
from profilekit.outbox.rows import Refusal

__all__ = ["OpenFile"]

_LOGGER = logging.getLogger("profilekit")

# After so many pages the log is copied into the database, as SQLite would do by itself, and that is checked.
# So it is not done before there are as many as the database has.
_MOST_FRAMES = 1000

_CONTENT = """
SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'pending'), 0),
       (SELECT count(*) FROM pending), (SELECT total(seq) FROM pending),
       (SELECT count(*) FROM dead), (SELECT total(seq) FROM dead)
"""
# No table, no page that makes sense, no database; and the end of a log that was truncated.
_LOSSES = {
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_IOERR_SHORT_READ,
}


class OpenFile:
    """Holds the file, and finds out whether the next process that opens it finds what was committed.

    Attributes:
        path: The file.
        connection: What reads and writes it; another one after ``check`` had to act.
        lost: Why it takes no more writes, once its file was taken away.
    """

    connection: sqlite3.Connection

    def __init__(self, named: Path) -> None:
        """Open the file, or make it.

        Args:
            named: Its path, as the next process will give it.

        Raises:
            OutboxError: When it cannot be used, or another outbox uses it.
        """
        self.path = Path(os.path.realpath(named))
        self.lost: Refusal | None = None
        self._named = named
        self._most_frames = _MOST_FRAMES
        self._locks = [Lock(self.path)]
        self._descriptors = ExitStack()
        self._session = ExitStack()
        try:
            self._connect(*make(self.path))
            self._watch()
            self._state = self._looked_through()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file and let others have it."""
        self._disconnect()
        # Afterwards: with the descriptor of a file go the locks that its connection has.
        self._descriptors.close()
        for lock in self._locks:
            lock.release()

    def _connect(self, descriptor: int, connection: sqlite3.Connection) -> None:
        self._descriptor = descriptor
        self._descriptors.callback(os.close, descriptor)
        self.connection = connection
        self._session.callback(connection.close)

    def _disconnect(self) -> None:
        with suppress(sqlite3.Error):
            self._session.close()

    def _watch(self) -> None:
        with explained(self.path):
            self._copy_log("TRUNCATE")
            (page_size,) = self.connection.execute("PRAGMA page_size").fetchone()
            self._files = Files(self._named, self.path, self._descriptor, page_size)
        self._session.callback(self._files.close)

    def _looked_through(self) -> str:
        with explained(self.path):
            state, *_ = _content(self.connection)
        if state != "ok":
            name = printable(str(self.path))
            _LOGGER.error("outbox %s: %s; what can be read is delivered (%s)", name, DAMAGED, state)
        return str(state)

    def _copy_log(self, how: str) -> bool:
        """Copy the log into the database; return True if all of it is there now."""
        busy, pages, copied = self.connection.execute(f"PRAGMA wal_checkpoint({how})").fetchone()
        return not busy and bool(pages == copied)

    # ---- the watch -----------------------------------------------------------------------------

    def is_unchanged(self) -> bool:
        """Return True if the database is as the latest check left it, for all that its properties tell."""
        return self.lost is not None or self._files.main_is_same()

    def check(self, *, wrote: bool, last: int) -> Refusal | None:
        """Return why no write may be acknowledged, or None if the next process finds all that was committed.

        Args:
            wrote: Whether there has been a commit since the last time.
            last: The number of the latest write that was committed.
        """
        if self.lost:
            return self.lost
        try:
            if not self._files.are_intact(wrote=wrote):
                return self._act(wrote=wrote, last=last)
            if self._files.frames > self._most_frames:
                return self._settled("PASSIVE", last)
        except (OSError, sqlite3.Error) as error:
            return Refusal(f"{self._named} cannot be reached: {error}: make it accessible again")
        return None

    def _act(self, *, wrote: bool, last: int) -> Refusal | None:
        """Find out what happened, and do what can be done about it."""
        if missing := self._files.missing():
            self._files.remove_sides()
            return self._lose(missing)
        if not os.access(self._named, os.R_OK | os.W_OK):
            return Refusal(f"{self._named} may not be read and written: restore its permissions")
        if not self._files.sides_are_there():
            whole = self._files.log_is_whole(wrote=wrote)
            return self._replace_sides() if whole else self._lose("had its -wal deleted and truncated")
        if not self._is_found(last):
            return self._lose("or its -wal was damaged, truncated or overwritten")
        return self._settled("TRUNCATE", last)

    def _settled(self, how: str, last: int) -> Refusal | None:
        """Copy the log, and take the files as they are then for right if the database holds it all."""
        is_whole = self._copy_log(how)
        # Before a look into it: what happens later is seen by the next check.
        self._files.remember()
        if not (is_whole and self._holds(self._main_content, last)) and not self._is_found(last):
            return self._lose("was truncated or overwritten")
        # What a reader keeps from being copied is not tried again each time.
        left = 0 if is_whole else self._files.frames
        self._most_frames = left + max(_MOST_FRAMES, self._files.pages)
        return None

    def _is_found(self, last: int) -> bool:
        """Return True if the next process would find all that this connection sees."""
        return self._holds(self._copied_content, last)

    def _holds(self, read: Callable[[], tuple[Any, ...]], last: int) -> bool:
        """Return True if a database is as well as at the beginning, and holds what this connection sees.

        Args:
            read: Reads how well it is, and how much it holds.
            last: The number of the latest write that was committed.
        """
        try:
            with transaction(self.connection):
                state, *found = read()
                seen = list(self.connection.execute(_CONTENT).fetchone())
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode in _LOSSES:
                return False
            raise
        return state == self._state and found == seen and found[0] >= last

    def _main_content(self) -> tuple[Any, ...]:
        """Read the database alone, as if it had no log."""
        with closing(sqlite3.connect(f"{self.path.as_uri()}?immutable=1", uri=True)) as main:
            return _content(main)

    def _copied_content(self) -> tuple[Any, ...]:
        """Read a copy of the files, whose log is read again as after a crash."""
        with (
            TemporaryDirectory(prefix="profilekit-") as folder,
            closing(sqlite3.connect(self._files.copied(Path(folder)))) as copy,
        ):
            # Without an index of its own, for which there may be no room.
            copy.execute("PRAGMA locking_mode = EXCLUSIVE")
            return _content(copy)

    def _replace_sides(self) -> Refusal | None:
        """Make the log, the index and the lock again, as one of them was deleted or moved."""
        if not self._copy_log("FULL"):
            return Refusal(f"{self._named}: its -wal or -shm was deleted: let other programs close it")
        try:
            self._locks.pop().release()
            self._locks.append(Lock(self.path))
        except OutboxError:
            return self._lose("had its .lock deleted, which another outbox has made again,")
        # All is in the database, whose descriptor holds it whatever becomes of the path meanwhile.
        self._disconnect()
        try:
            self.connection = reopen(self.path)
            self._session.callback(self.connection.close)
            self._watch()
        except OutboxError as error:
            return self._lose(f"could not be opened again ({error})", partial(copy_bytes, self._descriptor))
        if not self._files.are_of(self._descriptor):
            return self._lose("was replaced by another file", partial(copy_bytes, self._descriptor))
        return None

    # ---- a file that was taken away ------------------------------------------------------------

    def _lose(self, what: str, fill: Callable[[Path], None] | None = None) -> Refusal:
        """Take no more writes, and save what the open file holds."""
        why = f"{self._named} {what} while it was open: close this outbox, and open another one; "
        try:
            self._move_to(rescued(fill or self._back_up, self.path))
        except (OSError, sqlite3.Error, OutboxError) as error:
            why += f"what can be read of it is delivered meanwhile, but could not be saved ({error})"
        else:
            why += f"what can be read of it is delivered meanwhile, and saved in {self.path}"
        self.lost = Refusal(why, is_final=True)
        return self.lost

    def _back_up(self, copy: Path) -> None:
        with closing(sqlite3.connect(copy)) as target:
            self.connection.backup(target)

    def _move_to(self, place: Path) -> None:
        """Go on with another file, which holds the same."""
        opened = make(place)
        self._disconnect()
        self._connect(*opened)
        self.path = place
        # Held already, unless it has another name or the lock went with the file.
        with suppress(OutboxError):
            self._locks.append(Lock(place))


def _content(connection: sqlite3.Connection) -> tuple[Any, ...]:
    """Return how well a database is, and how much it holds."""
    (state,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    return state, *connection.execute(_CONTENT).fetchone()
