"""The SQLite file of an outbox: how it is opened, and what is said when it cannot be used."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from profilekit.errors import OutboxError

__all__ = ["connect", "explained", "make", "transaction"]

# "pfkt", by which tools such as file(1) may tell an outbox from other databases.
_APPLICATION = 0x70666B74
_VERSION = 1

# How many seconds somebody else's transaction is waited for.
_PATIENCE = 5.0

_SCHEMA = """
CREATE TABLE pending (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, put_at REAL NOT NULL, kind TEXT NOT NULL, ids TEXT NOT NULL,
  request BLOB NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, error TEXT
);
CREATE TABLE dead (
  seq INTEGER PRIMARY KEY, put_at REAL NOT NULL, kind TEXT NOT NULL, ids TEXT NOT NULL,
  request BLOB NOT NULL, attempts INTEGER NOT NULL, type TEXT NOT NULL, message TEXT NOT NULL,
  status INTEGER, died_at REAL NOT NULL
);
CREATE TABLE totals (
  delivered INTEGER NOT NULL, requests INTEGER NOT NULL, saved INTEGER NOT NULL, repeated INTEGER NOT NULL
);
INSERT INTO totals VALUES (0, 0, 0, 0)
"""

_REASONS = {
    sqlite3.SQLITE_FULL: "the disk is full: free some space",
    sqlite3.SQLITE_IOERR: "the disk failed, or allows no more: look at its space, its quota and its health",
    sqlite3.SQLITE_BUSY: "another program holds it locked: let that one finish its transaction",
    sqlite3.SQLITE_LOCKED: "another program holds it locked: let that one finish its transaction",
    sqlite3.SQLITE_READONLY: "it may not be written: change its permissions, or those of its folder",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: look at the permissions of the file and of its folder",
    sqlite3.SQLITE_NOTADB: "it is not a database: name another file",
    sqlite3.SQLITE_CORRUPT: "it is damaged: move it away, and see what `sqlite3 FILE .recover` finds",
    sqlite3.SQLITE_TOOBIG: "a write is too big for it",
}


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what SQLite and the system say about a file into what to do about it.

    Raises:
        OutboxError: In place of their errors.
    """
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        raise OutboxError(f"{path}: {_REASONS.get(code, str(error))}") from None
    except msgspec.DecodeError:
        raise OutboxError(f"{path}: {_REASONS[sqlite3.SQLITE_CORRUPT]}") from None
    except OSError as error:
        raise OutboxError(f"{path} cannot be used as an outbox: {error.strerror}") from None


def make(path: Path) -> sqlite3.Connection:
    """Open an outbox for writing to it, and make it where there is none.

    Raises:
        OutboxError: When it cannot be used.
    """
    with explained(path):
        # Through SQLite alone one that may only be read would look well until the first write.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        return _opened(path, may_make=True)


def connect(path: Path) -> sqlite3.Connection:
    """Open an outbox that is there.

    Raises:
        OutboxError: When it cannot be used.
    """
    with explained(path):
        return _opened(path, may_make=False)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit all that is done meanwhile, or nothing."""
    if connection.in_transaction:
        # One that could not even be rolled back when it failed.
        connection.execute("ROLLBACK")
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # After some failures SQLite has done so by itself.
        if connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        raise


def _opened(path: Path, *, may_make: bool) -> sqlite3.Connection:
    address = f"{path.as_uri()}?mode=rw"
    connection = sqlite3.connect(address, uri=True, isolation_level=None, timeout=_PATIENCE)
    try:
        if may_make and _is_blank(connection):
            _lay_out(connection)
        _recognise(connection, path)
        if may_make and _pragma(connection, "journal_mode = WAL") != "wal":
            raise OutboxError(f"{path}: there can be no write-ahead log here: name a file on a local disk")
        connection.execute("PRAGMA synchronous = FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def _pragma(connection: sqlite3.Connection, text: str) -> Any:
    return connection.execute(f"PRAGMA {text}").fetchone()[0]


def _is_blank(connection: sqlite3.Connection) -> bool:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return not (tables or _pragma(connection, "application_id") or _pragma(connection, "user_version"))


def _lay_out(connection: sqlite3.Connection) -> None:
    with transaction(connection):
        for statement in _SCHEMA.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        connection.execute(f"PRAGMA user_version = {_VERSION}")


def _recognise(connection: sqlite3.Connection, path: Path) -> None:
    if _pragma(connection, "application_id") != _APPLICATION:
        raise OutboxError(f"{path} is a database, but not an outbox: name another file")
    version = _pragma(connection, "user_version")
    if version != _VERSION:
        raise OutboxError(
            f"{path} is an outbox of version {version}, and this profilekit knows version {_VERSION}: "
            "use the profilekit that wrote it, or a newer one"
        )
