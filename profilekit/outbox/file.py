"""The SQLite file of an outbox: how it is opened, and what is said when it cannot be used."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from profilekit.errors import OutboxError

__all__ = ["DAMAGED", "connect", "explained", "is_damage", "make", "reopen", "transaction"]

# "pfkt", by which tools such as file(1) may tell an outbox from other databases.
_APPLICATION = 0x70666B74
_VERSION = 1

_BINARY = getattr(os, "O_BINARY", 0)

# How many seconds somebody else's transaction is waited for.
_PATIENCE = 5.0

_TABLES = {
    "pending": """CREATE TABLE pending (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, put_at REAL NOT NULL, kind TEXT NOT NULL, ids TEXT NOT NULL,
  checksum INTEGER, request BLOB NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, error TEXT
)""",
    "dead": """CREATE TABLE dead (
  seq INTEGER PRIMARY KEY, put_at REAL NOT NULL, kind TEXT NOT NULL, ids TEXT NOT NULL,
  checksum INTEGER, request BLOB NOT NULL, attempts INTEGER NOT NULL, type TEXT NOT NULL,
  message TEXT NOT NULL, status INTEGER, died_at REAL NOT NULL
)""",
    "totals": """CREATE TABLE totals (
  delivered INTEGER NOT NULL, requests INTEGER NOT NULL, saved INTEGER NOT NULL, repeated INTEGER NOT NULL
)""",
}

DAMAGED = "it is damaged: move it away, and see what `sqlite3 FILE .recover` finds"

_REASONS = {
    sqlite3.SQLITE_FULL: "the disk is full: free some space",
    sqlite3.SQLITE_IOERR: "the disk failed, or allows no more: look at its space, its quota and its health",
    sqlite3.SQLITE_BUSY: "another program holds it locked: let that one finish its transaction",
    sqlite3.SQLITE_LOCKED: "another program holds it locked: let that one finish its transaction",
    sqlite3.SQLITE_READONLY: "it may not be written: change its permissions, or those of its folder",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: look at the permissions of the file and of its folder",
    sqlite3.SQLITE_NOTADB: "it is not a database: name another file",
    sqlite3.SQLITE_CORRUPT: DAMAGED,
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
        raise OutboxError(f"{path}: {_REASONS.get(_code(error), str(error))}") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise OutboxError(f"{path}: {DAMAGED}") from None
    except OSError as error:
        raise OutboxError(f"{path} cannot be used as an outbox: {error.strerror}") from None


def is_damage(error: sqlite3.Error) -> bool:
    """Return True if an error says that the file does not hold what it should."""
    return _code(error) in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def _code(error: sqlite3.Error) -> int:
    # Those of Python's own module have none.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def make(path: Path) -> tuple[int, sqlite3.Connection]:
    """Open an outbox for its owner, and make it where there is none.

    Returns:
        A descriptor of the file, to be closed after the connection, and the connection.

    Raises:
        OutboxError: When it cannot be used.
    """
    with explained(path):
        _check_kind(path)
        # Through SQLite alone one that may only be read would look well until the first write.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _BINARY, 0o600)
        try:
            if not os.fstat(descriptor).st_size:
                # Whatever the umask says; SQLite gives the files next to it the same mode.
                path.chmod(0o600)
            return descriptor, _opened(path, may_make=True)
        except BaseException:
            os.close(descriptor)
            raise


def reopen(path: Path) -> sqlite3.Connection:
    """Open an outbox for its owner, who has a descriptor of it.

    Raises:
        OutboxError: When it cannot be used.
    """
    with explained(path):
        return _opened(path, may_make=True)


def connect(path: Path) -> sqlite3.Connection:
    """Open an outbox that is there.

    Raises:
        OutboxError: When it cannot be used.
    """
    with explained(path):
        _check_kind(path)
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


def _check_kind(path: Path) -> None:
    """Refuse what SQLite would wait for, such as a pipe, or write to, such as a device."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OutboxError(f"{path} cannot be used as an outbox: it is not a regular file: name another path")


def _opened(path: Path, *, may_make: bool) -> sqlite3.Connection:
    address = f"{path.as_uri()}?mode=rw"
    connection = sqlite3.connect(address, uri=True, isolation_level=None, timeout=_PATIENCE)
    try:
        # A file is data, and may be damaged or forged.
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        if may_make and _is_blank(connection):
            _lay_out(connection)
        _recognise(connection, path)
        if may_make and _pragma(connection, "journal_mode = WAL") != "wal":
            raise OutboxError(f"{path}: there can be no write-ahead log here: name a file on a local disk")
        connection.execute("PRAGMA synchronous = FULL")
        # The owner does that itself, so that it knows the database when it finds it changed.
        connection.execute("PRAGMA wal_autocheckpoint = 0")
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
        for statement in (*_TABLES.values(), "INSERT INTO totals VALUES (0, 0, 0, 0)"):
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
    tables = dict(
        connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite%' AND"
            " (name IN ('pending', 'dead', 'totals') OR type IN ('trigger', 'index'))"
        )
    )
    if tables != _TABLES:
        raise OutboxError(
            f"{path} is an outbox whose tables another program has changed: "
            "move it away, or name another file"
        )
