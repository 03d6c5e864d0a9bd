"""Counters and numbers of an outbox file that would keep its writes from delivery, put right."""

import logging
import sqlite3
from pathlib import Path

from profilekit.outbox.file import explained, transaction
from profilekit.outbox.rows import Totals

__all__ = ["repaired"]

_LOGGER = logging.getLogger("profilekit")

# SQLite refuses to go on after a row with the largest number that there is.
_MOST = 2**53


def repaired(connection: sqlite3.Connection, path: Path) -> None:
    """Put counters and numbers right, and log what was wrong.

    Raises:
        OutboxError: When the file cannot be read or written.
    """
    with explained(path), transaction(connection):
        if not _are_counts(connection.execute("SELECT * FROM totals").fetchall()):
            connection.execute("DELETE FROM totals")
            connection.execute("INSERT INTO totals VALUES (0, 0, 0, 0)")
            _LOGGER.error("outbox %s: its totals were damaged, and start at zero again", path)
        far = connection.execute("SELECT seq FROM pending WHERE seq > ? ORDER BY seq", (_MOST,)).fetchall()
        for row in far:
            connection.execute(
                "UPDATE pending SET seq = (SELECT coalesce(max(seq), 0) + 1 FROM pending WHERE seq <= ?)"
                " WHERE seq = ?",
                (_MOST, *row),
            )
        latest = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'pending'").fetchall()
        if far or len(latest) != 1 or not all(isinstance(seq, int) and seq <= _MOST for (seq,) in latest):
            connection.execute("DELETE FROM sqlite_sequence")
            connection.execute(
                "INSERT INTO sqlite_sequence SELECT 'pending', coalesce(max(seq), 0) FROM pending"
            )
        if far:
            _LOGGER.error(
                "outbox %s: the numbers of %d writes were damaged: they have new ones", path, len(far)
            )


def _are_counts(found: list[tuple[object, ...]]) -> bool:
    counts = found[0] if len(found) == 1 else ()
    return len(counts) == len(Totals.__struct_fields__) and all(
        isinstance(count, int) and 0 <= count <= _MOST for count in counts
    )
