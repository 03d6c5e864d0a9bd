"""An outbox file that is open: one owner, a connection, and a watch on its files. For one thread."""

import os
import sqlite3
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from profilekit.errors import OutboxError
from profilekit.outbox.file import explained, make, reopen, transaction
from profilekit.outbox.files import Files
from profilekit.outbox.lock import Lock
from profilekit.outbox.rescue import rescued
from profilekit.outbox.rows import Refusal

__all__ = ["OpenFile"]

# After so many pages the log is copied into the database, as SQLite would do by itself.
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
        self._locks = [Lock(self.path)]
        self._open = ExitStack()
        try:
            self._connect(*make(self.path))
            self._watch()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file and let others have it."""
        with suppress(sqlite3.Error):
            self._open.close()
        for lock in self._locks:
            lock.release()

    def _connect(self, descriptor: int, connection: sqlite3.Connection) -> None:
        self.connection = connection
        # Closed in the reverse order: with the descriptor go the locks of the connection.
        self._open.callback(os.close, descriptor)
        self._open.callback(connection.close)
        self._descriptor = descriptor

    def _watch(self) -> None:
        with explained(self.path):
            self._copy_log("TRUNCATE")
            (page_size,) = self.connection.execute("PRAGMA page_size").fetchone()
            self._files = Files(self._named, self.path, self._descriptor, page_size)
        self._open.callback(self._files.close)

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
            if self._files.frames > _MOST_FRAMES:
                return self._copy_frames(last)
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
        self._copy_log("TRUNCATE")
        self._files.remember()
        return None

    def _copy_frames(self, last: int) -> Refusal | None:
        """Copy a log that has grown long, after which the database is another one."""
        self._copy_log("PASSIVE")
        if not (self._files.main_is_whole() or self._is_found(last)):
            return self._lose("was truncated or overwritten")
        self._files.remember_main()
        return None

    def _is_found(self, last: int) -> bool:
        """Return True if a copy of the files, opened as after a crash, holds what this connection sees."""
        try:
            with transaction(self.connection):
                state, latest, *_ = found = self._copied_content()
                return state == "ok" and latest >= last and found == _content(self.connection)
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode in _LOSSES:
                return False
            raise

    def _copied_content(self) -> tuple[Any, ...]:
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
            self._open.close()
            self._connect(*reopen(self.path))
            self._locks.pop().release()
            self._locks.append(Lock(self.path))
            self._watch()
        except (OSError, sqlite3.Error, OutboxError) as error:
            # All is in the database, where the next process finds it.
            why = f"{self._named} had its -wal, -shm or .lock deleted, and cannot be opened again: {error}"
            self.lost = Refusal(why, is_final=True)
        return self.lost

    # ---- a file that was taken away ------------------------------------------------------------

    def _lose(self, what: str) -> Refusal:
        """Take no more writes, and save what the open file holds."""
        why = f"{self._named} {what} while it was open: close this outbox, and open another one; "
        try:
            self._move_to(rescued(self.connection, self.path))
        except (OSError, sqlite3.Error, OutboxError) as error:
            why += f"what can be read of it is delivered meanwhile, but could not be saved ({error})"
        else:
            why += f"what can be read of it is delivered meanwhile, and saved in {self.path}"
        self.lost = Refusal(why, is_final=True)
        return self.lost

    def _move_to(self, place: Path) -> None:
        """Go on with another file, which holds the same."""
        opened = reopen(place)
        self._open.close()
        self._connect(*opened)
        self.path = place
        # Held already, unless it has another name or the lock went with the file.
        with suppress(OutboxError):
            self._locks.append(Lock(place))


def _content(connection: sqlite3.Connection) -> tuple[Any, ...]:
    """Return whether a database is well, and what it holds, in short."""
    (state,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    return state, *connection.execute(_CONTENT).fetchone()
