"""What a row of an outbox file must be: checked before anything in it is used. Pure."""

import math
from typing import Any
from zlib import crc32

import msgspec

from profilekit.outbox.rows import Row

__all__ = ["checked", "checksum", "ids_in", "is_time", "row_of"]

_decode_ids = msgspec.json.Decoder(tuple[str, ...]).decode

# The year 10000: what a date cannot hold, no clock has written.
_LATEST = 253_402_300_800.0


def checksum(kind: bytes, ids: bytes, request: bytes) -> int:
    """Return the checksum that the file keeps with a row."""
    return crc32(request, crc32(ids, crc32(kind)))


def checked(put_at: Any, kind: Any, ids: Any, kept: Any, request: Any) -> tuple[str, bytes]:
    """Return the class and the text of a row.

    Args:
        put_at: When it was put.
        kind: The class of its request.
        ids: The ids of its user, as JSON.
        kept: Its checksum, or None for a row that a person has inserted.
        request: Its request, as JSON.

    Raises:
        ValueError: Says what is damaged.
    """
    if not (isinstance(kind, bytes) and isinstance(ids, bytes) and isinstance(request, bytes)):
        raise ValueError("a column has the wrong type")  # noqa: TRY004 - one error for all
    if not is_time(put_at):
        raise ValueError("put_at is not a time")
    if ids_in(ids) is None:
        raise ValueError("ids is not a JSON array of different texts")
    if kept is not None and kept != checksum(kind, ids, request):
        raise ValueError("its checksum does not match")
    try:
        return kind.decode(), request
    except UnicodeDecodeError:
        raise ValueError("kind is not UTF-8") from None


def row_of(seq: int, put_at: Any, ids: Any) -> Row:
    """Return what is held in memory of a row.

    A damaged one waits for no user and no user waits for it: it is refused as soon as it is read.
    """
    return Row(seq, put_at if is_time(put_at) else math.inf, ids_in(ids) or ())


def ids_in(text: Any) -> tuple[str, ...] | None:
    """Return the ids in a column, or None when it is damaged."""
    try:
        ids = _decode_ids(text)
    except (msgspec.DecodeError, TypeError, ValueError):
        return None
    return ids if len(set(ids)) == len(ids) else None


def is_time(value: Any) -> bool:
    """Return True if a column holds epoch seconds."""
    return isinstance(value, float) and 0.0 <= value < _LATEST
