"""A first look at a list: how many rows, which columns, which users come again. In little memory."""

import hashlib
from array import array
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TypeAlias

import msgspec

from profilekit.bulk.kinds import Kind, Kinds
from profilekit.bulk.rows import Row, no_column
from profilekit.bulk.source import Rows
from profilekit.errors import ConfigError

__all__ = ["Key", "Survey", "look_over", "numbered"]

Key: TypeAlias = Callable[[Row], Hashable]
"""Says of a row what it asks for: rows of which it says the same need one request."""

# Hashes are looked through in so many parts, one after the other, since each part becomes a list.
_PARTS = 64


class Survey(msgspec.Struct, frozen=True):
    """What a list holds.

    Attributes:
        rows: How many rows there are.
        bad: How many of them name no user.
        columns: The columns of all rows, in the order in which they appear.
        kinds: Of what kind each column is, where that was looked for.
        repeated: The hashes of the keys that come more than once; of some others by chance.
        again: How many rows ask for what a row before them asks for.
        digest: What the file holds, as a checksum.
    """

    rows: int
    bad: int
    columns: tuple[str, ...]
    kinds: dict[str, Kind]
    repeated: frozenset[int]
    again: int
    digest: str


def look_over(rows: Rows, key: Key | None, *, kinds: bool) -> Survey:
    """Read a list once.

    Args:
        rows: The list.
        key: What rows ask for; None where every row is sent.
        kinds: Whether it matters of what kind each column is.

    Raises:
        ConfigError: When it cannot be read, or no row has the column of ids.
    """
    count = bad = 0
    columns: dict[str, None] = {}
    seen = Kinds(texts=rows.is_text)
    hashes = [array("q") for _ in range(_PARTS)]
    width = 0
    for row in rows:
        count += 1
        if len(row.fields) != width or not columns.keys() >= row.fields.keys():
            columns.update(dict.fromkeys(row.fields))
            width = len(row.fields)
        if kinds:
            seen.see(row.fields)
        if row.user_id is None:
            bad += 1
        elif key is not None:
            found = hash(key(row))
            hashes[found % _PARTS].append(found)
    if count and rows.id_column not in columns:
        raise no_column(rows.id_column, columns)
    repeated, again = _repeated(hashes)
    with rows.path.open("rb") as file:
        digest = hashlib.file_digest(file, "blake2b").hexdigest()[:32]
    return Survey(count, bad, tuple(columns), seen.of(columns), repeated, again, digest)


def _repeated(parts: list["array[int]"]) -> tuple[frozenset[int], int]:
    repeated: set[int] = set()
    again = 0
    for part in parts:
        last = None
        for found in sorted(part):
            if found == last:
                repeated.add(found)
                again += 1
            last = found
    return frozenset(repeated), again


def numbered(rows: Iterable[Row], survey: Survey, key: Key | None) -> Iterator[tuple[int, Row]]:
    """Yield every row with the number of the first row that asks for the same, counted from 0.

    Args:
        rows: The list.
        survey: What is known of it.
        key: What it was surveyed by.

    Raises:
        ConfigError: When there are not as many rows as were surveyed.
    """
    first: dict[Hashable, int] = {}
    count = 0
    for count, row in enumerate(rows, 1):
        if count > survey.rows:
            break
        number = count - 1
        if (
            not survey.repeated
            or key is None
            or row.user_id is None
            or hash(wanted := key(row)) not in survey.repeated
        ):
            yield number, row
        else:
            yield first.setdefault(wanted, number), row
    if count != survey.rows:
        raise ConfigError("the input changed while it was read: run the job again")
