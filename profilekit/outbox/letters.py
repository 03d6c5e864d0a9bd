"""What a person does with an outbox file, whether or not an outbox has it open."""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from profilekit.errors import ConfigError, OutboxError
from profilekit.outbox.file import connect, explained, transaction
from profilekit.outbox.stored import checked, ids_in, is_time

__all__ = ["Letter", "Status", "dead", "drop", "pending", "retry", "status"]

# Read in parts, so that no slow reader keeps the write-ahead log from being emptied.
_PART = 500

_FIRST = -(2**63)

# As bytes: a text of a damaged row need not be UTF-8.
_ROW = "seq, put_at, CAST(kind AS BLOB), CAST(ids AS BLOB), attempts"


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
    """One write of a file, without what it writes. What is damaged is left out of it.

    Attributes:
        seq: Its number.
        put_at: When it was put, in epoch seconds, or None.
        kind: The class of the request.
        ids: Whom it is about.
        attempts: How many times it was sent to the vendor.
        type: The class of the latest error, or None.
        message: What that error said, or None.
        status: The HTTP status that the vendor answered, or None.
    """

    seq: int
    put_at: float | None
    kind: str
    ids: tuple[str, ...]
    attempts: int | None
    type: str | None
    message: str | None
    status: int | None


def status(path: Path) -> Status:
    """Return what a file holds.

    Raises:
        OutboxError: When it cannot be read.
    """
    with _opened(path) as connection:
        waiting, oldest, buried = connection.execute(
            "SELECT (SELECT count(*) FROM pending), (SELECT put_at FROM pending ORDER BY seq LIMIT 1),"
            " (SELECT count(*) FROM dead)"
        ).fetchone()
        totals = connection.execute("SELECT * FROM totals").fetchall()
    if len(totals) != 1 or not all(isinstance(total, int) for total in totals[0]):
        raise OutboxError(f"{path}: its totals are damaged: open an outbox on it, which starts them again")
    return Status(waiting, oldest if is_time(oldest) else None, buried, *totals[0])


def dead(path: Path, limit: int | None = None) -> Iterator[Letter]:
    """Yield dead letters, the oldest first.

    Raises:
        OutboxError: When the file cannot be read.
    """
    columns = f"{_ROW}, CAST(type AS BLOB), CAST(message AS BLOB), status"
    return _listed(path, f"SELECT {columns} FROM dead", limit)  # noqa: S608 - our names


def pending(path: Path, limit: int | None = None) -> Iterator[Letter]:
    """Yield writes that are not delivered yet, the oldest first.

    Raises:
        OutboxError: When the file cannot be read.
    """
    # The error stands there as a log would have it: its class, a colon, what it says.
    type_, said = "substr(error, 1, instr(error, ': ') - 1)", "substr(error, instr(error, ': ') + 2)"
    columns = f"{_ROW}, CAST({type_} AS BLOB), CAST({said} AS BLOB), NULL"
    return _listed(path, f"SELECT {columns} FROM pending", limit)  # noqa: S608 - our names


def retry(path: Path, seqs: Iterable[int] | None = None) -> int:
    """Move dead letters to the end of the line, and return how many.

    Args:
        path: The file.
        seqs: Which, or None for all that are not damaged.

    Raises:
        ConfigError: When there is none of such a number, or it is damaged; then none is moved.
        OutboxError: When the file cannot be written.
    """
    with _opened(path) as connection, transaction(connection):
        chosen = _chosen(connection, seqs)
        damage = {seq: why for (seq,) in chosen if (why := _damage(connection, seq))}
        if seqs is not None and damage:
            seq, why = next(iter(damage.items()))
            raise ConfigError(f"dead letter {seq} cannot be delivered, as {why}: drop it")
        chosen = [(seq,) for (seq,) in chosen if seq not in damage]
        connection.executemany(
            "INSERT INTO pending (put_at, kind, ids, checksum, request, attempts)"
            " SELECT put_at, kind, ids, checksum, request, attempts FROM dead WHERE seq = ?",
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
    path = Path(os.path.realpath(path))
    with explained(path), closing(connect(path)) as connection:
        yield connection


def _listed(path: Path, select: str, limit: int | None) -> Iterator[Letter]:
    left, last = limit, _FIRST
    with _opened(path) as connection:
        while left is None or left > 0:
            part = _PART if left is None else min(left, _PART)
            rows = connection.execute(f"{select} WHERE seq > ? ORDER BY seq LIMIT ?", (last, part)).fetchall()
            yield from (_letter(*row) for row in rows)
            if len(rows) < part:
                return
            last, left = rows[-1][0], None if left is None else left - part


def _letter(seq: int, put_at: Any, kind: Any, ids: Any, attempts: Any, *why: Any) -> Letter:
    type_, message, status = why
    return Letter(
        seq,
        put_at if is_time(put_at) else None,
        _text(kind) or "?",
        ids_in(ids) or (),
        attempts if isinstance(attempts, int) else None,
        _text(type_),
        _text(message),
        status if isinstance(status, int) else None,
    )


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="backslashreplace")


def _damage(connection: sqlite3.Connection, seq: int) -> str | None:
    """Return what keeps a dead letter from being read by any outbox."""
    columns = connection.execute(
        "SELECT put_at, CAST(kind AS BLOB), CAST(ids AS BLOB), checksum, CAST(request AS BLOB)"
        " FROM dead WHERE seq = ?",
        (seq,),
    ).fetchone()
    try:
        checked(*columns)
    except ValueError as error:
        return str(error)
    return None


def _chosen(connection: sqlite3.Connection, seqs: Iterable[int] | None) -> list[tuple[int]]:
    there: list[tuple[int]] = connection.execute("SELECT seq FROM dead ORDER BY seq").fetchall()
    if seqs is None:
        return there
    wanted = set(seqs)
    missing = sorted(wanted - {seq for (seq,) in there})
    if missing:
        raise ConfigError(f"no dead letter has the number {missing[0]}: `profilekit outbox list` shows them")
    return [(seq,) for (seq,) in there if seq in wanted]
