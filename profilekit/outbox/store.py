"""Writes in a file: what the owner of an outbox does with it. Synchronous, and for one thread.

Each step of SQLite lets go of Python's lock, and a busy event loop takes milliseconds to give it back. So
there is one statement for all rows, which travel as one JSON text.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from profilekit.outbox.file import explained, make, transaction
from profilekit.outbox.lock import Lock
from profilekit.outbox.rows import Dead, Ends, News, Put, Row, Totals

__all__ = ["Store"]

_ids = msgspec.json.Decoder(tuple[str, ...]).decode
_requests = msgspec.json.Decoder(list[tuple[int, str, str]]).decode

# How much is read at once, save that one row always is.
_MOST_BYTES = 4_000_000

_REQUESTS = """
SELECT json_group_array(json_array(seq, kind, CAST(request AS TEXT))) FROM (
  SELECT seq, kind, request, sum(length(request)) OVER (ORDER BY wanted.key) - length(request) AS before
  FROM json_each(?) AS wanted JOIN pending ON seq = wanted.value
) WHERE before < ?
"""
_AMONG = "seq IN (SELECT value FROM json_each(?))"


class Store:
    """An outbox file that is ours, until it is closed."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        Raises:
            OutboxError: When it cannot be used, or another outbox uses it.
        """
        self._path = path
        self._lock = Lock(path)
        try:
            self._connection = make(path)
        except BaseException:
            self._lock.release()
            raise
        # Up to here all rows are known.
        self._last = 0
        self._changes = -1
        self._dead = 0

    def close(self) -> None:
        """Close the file and let others have it."""
        with suppress(sqlite3.Error):
            self._connection.close()
        self._lock.release()

    def totals(self) -> Totals:
        """Return what has been done since the file was made."""
        names = ", ".join(Totals.__struct_fields__)
        with explained(self._path):
            return Totals(*self._connection.execute(f"SELECT {names} FROM totals").fetchone())  # noqa: S608 - ours

    def kinds(self) -> set[str]:
        """Return the classes of the writes that wait."""
        with explained(self._path):
            return {kind for (kind,) in self._connection.execute("SELECT DISTINCT kind FROM pending")}

    def look(self) -> News:
        """Return what others have changed: rows that are not known yet, and how many are dead.

        Raises:
            OutboxError: When the file cannot be read.
        """
        with explained(self._path):
            changes = self._changes_of_others()
            if changes == self._changes:
                return News([], self._dead)
            rows, dead = self._unknown(), self._count_dead()
        self._know(rows, dead, changes)
        return News(rows, dead)

    def commit(self, puts: Sequence[Put], ends: Ends) -> News:
        """Put writes in the file and take out those that are through, all of it or nothing.

        Returns:
            The new rows in order, with those that others have added, and how many are dead.

        Raises:
            OutboxError: When the file cannot be written.
        """
        with explained(self._path), transaction(self._connection):
            changes = self._changes_of_others()
            rows = [] if changes == self._changes else self._unknown()
            rows += self._insert(puts)
            self._end(ends)
            dead = self._dead + len(ends.dead) if changes == self._changes else self._count_dead()
        self._know(rows, dead, changes)
        return News(rows, dead)

    def requests(self, seqs: Sequence[int]) -> dict[int, tuple[str, bytes]]:
        """Return the class and the text of each row that is there: of the first, and of what is not too much.

        Raises:
            OutboxError: When the file cannot be read.
        """
        with explained(self._path):
            (found,) = self._connection.execute(_REQUESTS, (_text(seqs), _MOST_BYTES)).fetchone()
        return {seq: (kind, request.encode()) for seq, kind, request in _requests(found)}

    def _changes_of_others(self) -> int:
        (changes,) = self._connection.execute("PRAGMA data_version").fetchone()
        return int(changes)

    def _unknown(self) -> list[Row]:
        found = self._connection.execute(
            "SELECT seq, put_at, ids FROM pending WHERE seq > ? ORDER BY seq", (self._last,)
        )
        return [Row(seq, put_at, _ids(ids)) for seq, put_at, ids in found]

    def _count_dead(self) -> int:
        (count,) = self._connection.execute("SELECT count(*) FROM dead").fetchone()
        return int(count)

    def _know(self, rows: list[Row], dead: int, changes: int) -> None:
        if rows:
            self._last = rows[-1].seq
        self._dead, self._changes = dead, changes

    def _insert(self, puts: Sequence[Put]) -> list[Row]:
        """Insert rows, whose numbers follow each other, as nobody else writes meanwhile."""
        if not puts:
            return []
        values = [(put.put_at, put.kind, _text(put.ids), put.request.decode()) for put in puts]
        last = self._connection.execute(
            "INSERT INTO pending (put_at, kind, ids, request)"
            " SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),"
            " CAST(json_extract(value, '$[3]') AS BLOB) FROM json_each(?)",
            (_text(values),),
        ).lastrowid
        first = (last or 0) - len(puts) + 1
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
            self._bury(letter)
        self._connection.execute(f"DELETE FROM pending WHERE {_AMONG}", (_text(ends.seqs()),))  # noqa: S608 - ours
        changes = ", ".join(f"{name} = {name} + ?" for name in Totals.__struct_fields__)
        self._connection.execute(f"UPDATE totals SET {changes}", msgspec.structs.astuple(ends.totals))  # noqa: S608 - ours

    def _bury(self, letter: Dead) -> None:
        self._connection.execute(
            "INSERT INTO dead SELECT seq, put_at, kind, ids, request, attempts + ?, ?, ?, ?, ?"
            " FROM pending WHERE seq = ?",
            (letter.attempts, letter.type, letter.message, letter.status, letter.died_at, letter.seq),
        )


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _alike(tried: dict[int, tuple[int, str]]) -> dict[tuple[int, str], list[int]]:
    """Return rows by what they have in common, which in an outage is all but everything."""
    found = defaultdict(list)
    for seq, what in tried.items():
        found[what].append(seq)
    return found
