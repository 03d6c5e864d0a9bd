"""From Python values to JSON, the one way that everything in a request body goes."""

import dataclasses
import json
from typing import Any

import msgspec
import orjson

from profilekit.errors import ConfigError

__all__ = ["dumps", "snapshot"]


def dumps(value: object) -> bytes:
    """Encode as JSON: datetimes, UUIDs, enums, dataclasses, Structs, NumPy scalars and arrays included.

    Raises:
        ConfigError: When JSON cannot hold the value. NaN and infinities count: orjson would write
            them as null, and a null may clear what the vendor has.
    """
    try:
        encoded = orjson.dumps(value, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as error:
        cause = error.__cause__
        reason = str(cause if isinstance(cause, TypeError) else error)
    else:
        # ``in`` would first try whether it is a number, which costs more than to look.
        if encoded.find(b"null") < 0 or not _has_nan(value):
            return encoded
        reason = "NaN and infinity cannot be sent: use None, or leave the value out"
    raise ConfigError(reason)


def snapshot(value: object) -> Any:
    """Return the value as it will arrive: a copy in plain JSON types, free of the caller's objects.

    Raises:
        ConfigError: As ``dumps``.
    """
    return orjson.loads(dumps(value))


def _plain(value: object) -> object:
    """Turn what orjson does not know into what it does."""
    if isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value, enc_hook=_plain)
    # NumPy arrays that orjson leaves aside (not contiguous, other dtypes), without importing NumPy.
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _has_nan(value: object) -> bool:
    """Look for numbers that orjson writes as null. Runs only when there is a null at all."""
    try:
        json.dumps(value, allow_nan=False, default=_open)
    except ValueError:
        return True
    return False


def _open(value: object) -> object:
    """Show the inside of whatever may hold a float; orjson has already accepted the rest."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
    if isinstance(value, msgspec.Struct) or hasattr(value, "tolist"):
        return _plain(value)
    return getattr(value, "value", None)
