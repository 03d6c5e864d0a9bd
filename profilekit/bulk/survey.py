"""A first look at a list: how many rows, which columns, which users come again. In little memory."""

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

import msgspec

from profilekit.bulk.kinds import Kind, Kinds
from profilekit.bulk.rows import Row, no_column
from profilekit.bulk.source import Rows
from profilekit.errors import ConfigError

__all__ = ["Key", "Survey", "changed", "digest_of", "look_over", "numbered"]

Key: TypeAlias = Callable[[Row], str]
"""Says of a row what it asks for: rows of which it says the same need one request."""

# Hashes are looked through in so many parts, one after the other, since each part becomes a list.
_PARTS = 64

_CHUNK = 256 * 1024


class Survey(msgspec.Struct, frozen=True):
    """What a list holds.

    Attributes:
        rows: How many rows there are.
        columns: The columns of all rows, in the order in which they appear.
        kinds: Of what kind each column is, where that was looked for.
        repeated: The hashes of the keys that come more than once, sorted; of some others by chance.
        again: How many rows ask for what a row before them asks for.
        digest: What the file holds, as a checksum.
    """

    rows: int
    columns: tuple[str, ...]
    kinds: dict[str, Kind]
    repeated: "array[int]"
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
    count = 0
    header: Sequence[str] = rows.header()
    columns = dict.fromkeys(header)
    seen = Kinds(texts=rows.is_text)
    hashes = [array("q") for _ in range(_PARTS)]
    for row in rows:
        count += 1
        if row.columns != header:
            header = row.columns
            columns.update(dict.fromkeys(header))
        if kinds:
            seen.see(row.fields)
        if key is not None and row.user_id is not None:
            found = hash(key(row))
            hashes[found % _PARTS].append(found)
    if count and rows.id_column not in columns:
        raise no_column(rows.id_column, columns)
    repeated, again = _repeated(hashes)
    return Survey(count, tuple(columns), seen.of(columns), repeated, again, digest_of(rows))


def digest_of(rows: Rows) -> str:
    """Return a checksum of what a list is read from."""
    digest = hashlib.blake2b()
    with rows.path.open("rb", buffering=0) as file:
        while data := file.read(_CHUNK):
            rows.check_wanted()
            digest.update(data)
    return digest.hexdigest()[:32]


def _repeated(parts: list["array[int]"]) -> tuple["array[int]", int]:
    repeated = array("q")
    again = 0
    for part in parts:
        last = None
        for found in sorted(part):
            if found == last:
                again += 1
                if not repeated or repeated[-1] != found:
                    repeated.append(found)
            last = found
    return array("q", sorted(repeated)), again


def numbered(rows: Iterable[Row], survey: Survey, key: Key | None) -> Iterator[tuple[int, Row]]:
    """Yield every row with the number of the first row that asks for the same, counted from 0.

    Args:
        rows: The list.
        survey: What is known of it.
        key: What it was surveyed by.

    Raises:
        ConfigError: When there are not as many rows as were surveyed.
    """
    repeated, count = survey.repeated, 0
    # By the place of the hash: the first row, and another hash of its key, as one alone may meet.
    firsts, others = array("q", [-1]) * len(repeated), array("q", [0]) * len(repeated)
    for count, row in enumerate(rows, 1):
        if count > survey.rows:
            break
        number = count - 1
        if repeated and key is not None and row.user_id is not None:
            wanted = key(row)
            place = bisect_left(repeated, found := hash(wanted))
            if place < len(repeated) and repeated[place] == found:
                if firsts[place] < 0:
                    firsts[place], others[place] = number, hash(f"{wanted}\0")
                elif others[place] == hash(f"{wanted}\0"):
                    number = firsts[place]
        yield number, row
    if count != survey.rows:
        raise changed()


def changed() -> ConfigError:
    """Return the error of a list that is not what it was."""
    return ConfigError("the input changed while it was read: start over with fresh=True")
