"""Writes in a file: what the owner of an outbox does with it. Synchronous, and for one thread."""

import sqlite3
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from profilekit.outbox.file import explained, make, transaction
from profilekit.outbox.lock import Lock
from profilekit.outbox.rows import Dead, Ends, News, Put, Row, Totals

__all__ = ["Store"]

_ids = msgspec.json.Decoder(tuple[str, ...]).decode


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
            return Totals(*self._connection.execute(f"SELECT {names} FROM totals").fetchone())  # noqa: S608 - our names

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
            (changes,) = self._connection.execute("PRAGMA data_version").fetchone()
            if changes == self._changes:
                return News([], self._dead)
            rows, dead = self._unknown(), self._count_dead()
        self._know(rows, dead)
        self._changes = changes
        return News(rows, dead)

    def commit(self, puts: Iterable[Put], ends: Ends) -> News:
        """Put writes in the file and take out those that are through, all of it or nothing.

        Returns:
            The new rows in order, with those that others have added, and how many are dead.

        Raises:
            OutboxError: When the file cannot be written.
        """
        with explained(self._path), transaction(self._connection):
            self._insert(puts)
            if ends:
                self._bury(ends.dead)
                self._delete(ends.gone)
                self._note(ends)
            rows = self._unknown()
        self._know(rows, self._dead + len(ends.dead))
        return News(rows, self._dead)

    def requests(self, seqs: Collection[int]) -> dict[int, tuple[str, bytes]]:
        """Return the class and the text of each row that is there.

        Raises:
            OutboxError: When the file cannot be read.
        """
        with explained(self._path):
            found = ((seq, self._request(seq)) for seq in seqs)
            return {seq: request for seq, request in found if request is not None}

    def _request(self, seq: int) -> Any:
        return self._connection.execute("SELECT kind, request FROM pending WHERE seq = ?", (seq,)).fetchone()

    def _unknown(self) -> list[Row]:
        found = self._connection.execute(
            "SELECT seq, put_at, ids FROM pending WHERE seq > ? ORDER BY seq", (self._last,)
        )
        return [Row(seq, put_at, _ids(ids)) for seq, put_at, ids in found]

    def _count_dead(self) -> int:
        (count,) = self._connection.execute("SELECT count(*) FROM dead").fetchone()
        return int(count)

    def _know(self, rows: list[Row], dead: int) -> None:
        if rows:
            self._last = rows[-1].seq
        self._dead = dead

    def _insert(self, puts: Iterable[Put]) -> None:
        self._connection.executemany(
            "INSERT INTO pending (put_at, kind, ids, request) VALUES (?, ?, ?, ?)",
            ((put.put_at, put.kind, msgspec.json.encode(put.ids).decode(), put.request) for put in puts),
        )

    def _bury(self, dead: list[Dead]) -> None:
        self._connection.executemany(
            "INSERT INTO dead SELECT seq, put_at, kind, ids, request, attempts + ?, ?, ?, ?, ?"
            " FROM pending WHERE seq = ?",
            (
                (letter.attempts, letter.type, letter.message, letter.status, letter.died_at, letter.seq)
                for letter in dead
            ),
        )
        self._delete(letter.seq for letter in dead)

    def _delete(self, seqs: Iterable[int]) -> None:
        self._connection.executemany("DELETE FROM pending WHERE seq = ?", ((seq,) for seq in seqs))

    def _note(self, ends: Ends) -> None:
        self._connection.executemany(
            "UPDATE pending SET attempts = attempts + ?, error = ? WHERE seq = ?", ends.tried
        )
        changes = ", ".join(f"{name} = {name} + ?" for name in Totals.__struct_fields__)
        self._connection.execute(f"UPDATE totals SET {changes}", msgspec.structs.astuple(ends.totals))  # noqa: S608 - our names
