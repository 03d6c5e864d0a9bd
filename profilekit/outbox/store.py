"""Writes in a file: what the owner of an outbox does with it. Synchronous, and for one thread.

Each step of SQLite lets go of Python's lock, and a busy event loop takes milliseconds to give it back. So
there is one statement for all rows, which travel as one JSON text.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from profilekit.errors import OutboxError
from profilekit.outbox.file import DAMAGED, explained, is_damage, transaction
from profilekit.outbox.openfile import OpenFile
from profilekit.outbox.repair import repaired
from profilekit.outbox.rows import Ends, News, Put, Refusal, Row, Totals
from profilekit.outbox.stored import checked, checksum, row_of
from profilekit.outbox.writes import Writes

__all__ = ["Store"]

_requests = msgspec.json.Decoder(list[tuple[int, float, str, str, int | None, str]]).decode

# How much is read at once, save that one row always is.
_MOST_BYTES = 4_000_000

_REQUESTS = """
SELECT CAST(json_group_array(json_array(seq, put_at, kind, ids, checksum, CAST(request AS TEXT))) AS BLOB)
FROM (
  SELECT seq, put_at, kind, ids, checksum, request,
    sum(length(request)) OVER (ORDER BY wanted.key) - length(request) AS before
  FROM json_each(?) AS wanted JOIN pending ON seq = wanted.value
) WHERE before < ?
"""
_REQUEST = """
SELECT put_at, CAST(kind AS BLOB), CAST(ids AS BLOB), checksum, CAST(request AS BLOB)
FROM pending WHERE seq = ?
"""
# Below all that there can be.
_FIRST = -(2**63)
_BURY = """
INSERT INTO dead
SELECT CASE WHEN EXISTS (SELECT 1 FROM dead WHERE seq = pending.seq) THEN NULL ELSE seq END,
  put_at, kind, ids, checksum, request, attempts + ?, ?, ?, ?, ? FROM pending WHERE seq = ?
"""
_AMONG = "seq IN (SELECT value FROM json_each(?))"


class Store:
    """An outbox file that is ours, until it is closed."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        Raises:
            OutboxError: When it cannot be used, or another outbox uses it.
        """
        self._file = OpenFile(path)
        try:
            repaired(self._connection, self._path)
        except BaseException:
            self._file.close()
            raise
        # Up to here all rows are known.
        self._last = _FIRST
        self._changes = -1
        self._dead = 0
        # Those that cannot even be moved to the dead letters: to try that would end the transaction.
        self._stuck: set[int] = set()
        self._refusal: Refusal | None = None

    @property
    def _connection(self) -> sqlite3.Connection:
        return self._file.connection

    @property
    def _path(self) -> Path:
        return self._file.path

    def close(self) -> None:
        """Close the file and let others have it."""
        self._file.close()

    def totals(self) -> Totals:
        """Return what has been done since the file was made."""
        with explained(self._path):
            return Totals(*self._connection.execute("SELECT * FROM totals").fetchone())

    def unknown_class(self, known: Writes) -> str | None:
        """Return a class of writes that wait, whose checksums are right, if there is one that is not known.

        Raises:
            OutboxError: When the file cannot be read.
        """
        with explained(self._path):
            kinds: list[tuple[bytes]] = self._connection.execute(
                "SELECT DISTINCT CAST(kind AS BLOB) FROM pending"
            ).fetchall()
            names = (kind.decode(errors="replace") for (kind,) in kinds if kind)
            return next((name for name in names if name not in known and self._is_whole(name)), None)

    def _is_whole(self, kind: str) -> bool:
        """Return True if a row of a class is as it was written."""
        seqs = self._connection.execute(
            "SELECT seq FROM pending WHERE kind = ? AND checksum IS NOT NULL", (kind,)
        )
        return any(isinstance(self._request(seq), tuple) for (seq,) in seqs.fetchall())

    def look(self) -> News:
        """Return what others have changed, and whether the file is still there.

        Raises:
            OutboxError: When the file cannot be read.
        """
        refusal = self._check(wrote=False)
        with explained(self._path):
            changes = self._changes_of_others()
            if changes == self._changes:
                return News([], self._dead, refusal)
            rows, dead = self._unknown(), self._count_dead()
        self._know(rows, dead, changes)
        return News(rows, dead, refusal)

    def commit(self, puts: Sequence[Put], ends: Ends) -> News:
        """Put writes in the file and take out those that are through, all of it or nothing.

        When nothing may be acknowledged, those that are through are still taken out.

        Returns:
            The new rows in order, with those that others have added, and how many are dead.

        Raises:
            OutboxError: When the file cannot be written.
        """
        if (self._refusal or not self._file.is_unchanged()) and self._check(wrote=False):
            puts = ()
        with explained(self._path), transaction(self._connection):
            changes = self._changes_of_others()
            rows = [] if changes == self._changes else self._unknown()
            rows += self._insert(puts)
            self._end(ends)
            dead = self._dead + len(ends.dead) if changes == self._changes else self._count_dead()
        self._know(rows, dead, changes)
        return News(rows, dead, self._check(wrote=bool(puts)))

    def _check(self, *, wrote: bool) -> Refusal | None:
        connection = self._connection
        self._refusal = self._file.check(wrote=wrote, last=self._last)
        if self._connection is not connection:
            # Another connection counts the changes of others from another number.
            self._changes = -1
        return self._refusal

    def requests(self, seqs: Sequence[int]) -> dict[int, tuple[str, bytes] | OutboxError]:
        """Return the class and the text of each row that is there: of the first, and of what is not too much.

        For a row that is damaged it is the error that says how.

        Raises:
            OutboxError: When the file cannot be read.
        """
        try:
            (found,) = self._connection.execute(_REQUESTS, (_text(seqs), _MOST_BYTES)).fetchone()
            rows = _requests(found)
        except (sqlite3.Error, msgspec.DecodeError, UnicodeDecodeError):
            # One of them is damaged, or all.
            with explained(self._path):
                return self._one_by_one(seqs)
        return {
            seq: self._checked(seq, put_at, kind.encode(), ids.encode(), kept, request.encode())
            for seq, put_at, kind, ids, kept, request in rows
        }

    def _one_by_one(self, seqs: Sequence[int]) -> dict[int, tuple[str, bytes] | OutboxError]:
        found, size = {}, 0
        for seq in seqs:
            one = self._request(seq)
            if one is not None:
                found[seq] = one
                size += len(one[1]) if isinstance(one, tuple) else 0
            if size > _MOST_BYTES:
                break
        return found

    def _request(self, seq: int) -> tuple[str, bytes] | OutboxError | None:
        """Return what a row holds, whatever has become of the others, or None if it is not there."""
        try:
            found = self._connection.execute(_REQUEST, (seq,)).fetchone()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            self._stuck.add(seq)
            return OutboxError(f"{self._path}: write {seq} is damaged: the file is damaged where it stands")
        return found and self._checked(seq, *found)

    def _checked(self, seq: int, *columns: Any) -> tuple[str, bytes] | OutboxError:
        try:
            return checked(*columns)
        except ValueError as error:
            return OutboxError(f"{self._path}: write {seq} is damaged: {error}")

    def _changes_of_others(self) -> int:
        (changes,) = self._connection.execute("PRAGMA data_version").fetchone()
        return int(changes)

    def _unknown(self) -> list[Row]:
        found = self._connection.execute(
            "SELECT seq, put_at, CAST(ids AS BLOB) FROM pending WHERE seq > ? ORDER BY seq", (self._last,)
        )
        rows = [row_of(seq, put_at, ids) for seq, put_at, ids in found]
        if any(one.seq >= other.seq for one, other in pairwise(rows)):
            raise OutboxError(f"{self._path}: {DAMAGED}")
        return rows

    def _count_dead(self) -> int:
        (count,) = self._connection.execute("SELECT count(*) FROM dead").fetchone()
        return int(count) + len(self._stuck)

    def _know(self, rows: list[Row], dead: int, changes: int) -> None:
        if rows:
            self._last = rows[-1].seq
        self._dead, self._changes = dead, changes

    def _insert(self, puts: Sequence[Put]) -> list[Row]:
        """Insert rows, whose numbers follow each other, as nobody else writes meanwhile."""
        if not puts:
            return []
        last = self._connection.execute(
            "INSERT INTO pending (put_at, kind, ids, checksum, request)"
            " SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),"
            " json_extract(value, '$[3]'), CAST(json_extract(value, '$[4]') AS BLOB) FROM json_each(?)",
            (_text([_values(put) for put in puts]),),
        ).lastrowid
        first = (last or 0) - len(puts) + 1
        if first <= self._last:
            raise OutboxError(f"{self._path} was overwritten with an older one while it was open")
        return [Row(seq, put.put_at, put.ids) for seq, put in enumerate(puts, first)]

    def _end(self, ends: Ends) -> None:
        if not ends:
            return
        for (attempts, why), seqs in _alike(ends.tried).items():
            self._connection.execute(
                f"UPDATE pending SET attempts = attempts + ?, error = ? WHERE {_AMONG}",  # noqa: S608 - ours
                (attempts, why, _text(seqs)),
            )
        for letter in ends.dead:
            if letter.seq not in self._stuck:
                said = letter.type, letter.message, letter.status, letter.died_at
                self._connection.execute(_BURY, (letter.attempts, *said, letter.seq))
        seqs = [seq for seq in ends.seqs() if seq not in self._stuck]
        self._connection.execute(f"DELETE FROM pending WHERE {_AMONG}", (_text(seqs),))  # noqa: S608 - ours
        changes = ", ".join(f"{name} = {name} + ?" for name in Totals.__struct_fields__)
        self._connection.execute(f"UPDATE totals SET {changes}", msgspec.structs.astuple(ends.totals))  # noqa: S608 - ours


def _values(put: Put) -> tuple[Any, ...]:
    ids = msgspec.json.encode(put.ids)
    kept = checksum(put.kind.encode(), ids, put.request)
    return put.put_at, put.kind, ids.decode(), kept, put.request.decode()


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _alike(tried: dict[int, tuple[int, str]]) -> dict[tuple[int, str], list[int]]:
    """Return rows by what they have in common, which in an outage is all but everything."""
    found = defaultdict(list)
    for seq, what in tried.items():
        found[what].append(seq)
    return found
