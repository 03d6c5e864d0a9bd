"""What a person does with an outbox file, whether or not an outbox has it open."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from profilekit.errors import ConfigError
from profilekit.outbox.file import connect, explained, transaction

__all__ = ["Letter", "Status", "dead", "drop", "pending", "retry", "status"]

# Read in parts, so that no slow reader keeps the write-ahead log from being emptied.
_PART = 500


class Status(msgspec.Struct, frozen=True):
    """What a file holds, and what has been done since it was made.

    Attributes:
        pending: Writes that are not delivered yet.
        oldest: When the oldest of them was put, in epoch seconds, or None.
        dead: Dead letters.
        delivered: Writes that the vendor took.
        requests: Requests that were sent for writes, those that failed included.
        saved: Requests that merging saved.
        repeated: Requests that were sent again after one had failed.
    """

    pending: int
    oldest: float | None
    dead: int
    delivered: int
    requests: int
    saved: int
    repeated: int


class Letter(msgspec.Struct, frozen=True):
    """One write of a file, without what it writes.

    Attributes:
        seq: Its number.
        put_at: When it was put, in epoch seconds.
        kind: The class of the request.
        ids: Whom it is about.
        attempts: How many times it was sent to the vendor.
        type: The class of the latest error, or None.
        message: What that error said, or None.
        status: The HTTP status that the vendor answered, or None.
    """

    seq: int
    put_at: float
    kind: str
    ids: tuple[str, ...]
    attempts: int
    type: str | None
    message: str | None
    status: int | None


def status(path: Path) -> Status:
    """Return what a file holds.

    Raises:
        OutboxError: When it cannot be read.
    """
    with _opened(path) as connection:
        found = connection.execute(
            "SELECT (SELECT count(*) FROM pending), (SELECT put_at FROM pending ORDER BY seq LIMIT 1),"
            " (SELECT count(*) FROM dead), delivered, requests, saved, repeated FROM totals"
        ).fetchone()
    return Status(*found)


def dead(path: Path, limit: int | None = None) -> Iterator[Letter]:
    """Yield dead letters, the oldest first.

    Raises:
        OutboxError: When the file cannot be read.
    """
    return _listed(path, "SELECT seq, put_at, kind, ids, attempts, type, message, status FROM dead", limit)


def pending(path: Path, limit: int | None = None) -> Iterator[Letter]:
    """Yield writes that are not delivered yet, the oldest first.

    Raises:
        OutboxError: When the file cannot be read.
    """
    # The error stands there as a log would have it: its class, a colon, what it says.
    type_, said = "substr(error, 1, instr(error, ': ') - 1)", "substr(error, instr(error, ': ') + 2)"
    columns = f"seq, put_at, kind, ids, attempts, {type_}, {said}, NULL"
    return _listed(path, f"SELECT {columns} FROM pending", limit)  # noqa: S608 - our names


def retry(path: Path, seqs: Iterable[int] | None = None) -> int:
    """Move dead letters to the end of the line, and return how many.

    Args:
        path: The file.
        seqs: Which, or None for all.

    Raises:
        ConfigError: When there is none of such a number; then none is moved.
        OutboxError: When the file cannot be written.
    """
    with _opened(path) as connection, transaction(connection):
        chosen = _chosen(connection, seqs)
        connection.executemany(
            "INSERT INTO pending (put_at, kind, ids, request, attempts)"
            " SELECT put_at, kind, ids, request, attempts FROM dead WHERE seq = ?",
            chosen,
        )
        connection.executemany("DELETE FROM dead WHERE seq = ?", chosen)
    return len(chosen)


def drop(path: Path, seqs: Iterable[int] | None = None) -> int:
    """Delete dead letters, and return how many.

    Args:
        path: The file.
        seqs: Which, or None for all.

    Raises:
        ConfigError: When there is none of such a number; then none is deleted.
        OutboxError: When the file cannot be written.
    """
    with _opened(path) as connection, transaction(connection):
        chosen = _chosen(connection, seqs)
        connection.executemany("DELETE FROM dead WHERE seq = ?", chosen)
    return len(chosen)


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    path = path.resolve()
    with explained(path), closing(connect(path)) as connection:
        yield connection


def _listed(path: Path, select: str, limit: int | None) -> Iterator[Letter]:
    left, last = limit, 0
    with _opened(path) as connection:
        while left is None or left > 0:
            part = _PART if left is None else min(left, _PART)
            rows = connection.execute(f"{select} WHERE seq > ? ORDER BY seq LIMIT ?", (last, part)).fetchall()
            yield from (_letter(*row) for row in rows)
            if len(rows) < part:
                return
            last, left = rows[-1][0], None if left is None else left - part


def _letter(seq: int, put_at: float, kind: str, ids: str, *rest: Any) -> Letter:
    return Letter(seq, put_at, kind, msgspec.json.decode(ids, type=tuple[str, ...]), *rest)


def _chosen(connection: sqlite3.Connection, seqs: Iterable[int] | None) -> list[tuple[int]]:
    there: list[tuple[int]] = connection.execute("SELECT seq FROM dead ORDER BY seq").fetchall()
    if seqs is None:
        return there
    wanted = set(seqs)
    missing = sorted(wanted - {seq for (seq,) in there})
    if missing:
        raise ConfigError(f"no dead letter has the number {missing[0]}: `profilekit outbox list` shows them")
    return [(seq,) for (seq,) in there if seq in wanted]
