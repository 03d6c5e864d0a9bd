"""Answers whose objects are looked over but not taken apart: a list keeps them as the vendor wrote them."""

from functools import lru_cache
from typing import Any

import msgspec

from profilekit.bulk.structs import alike, is_struct

__all__ = ["encoded", "verbatim"]

_OBJECT = dict[str, Any] | None

_NULL = msgspec.Raw(b"null")

# JSON's line breaks stand between its tokens only, and a list has a line for each row.
_LINE_BREAKS = bytes.maketrans(b"\n\r", b"  ")


def encoded(value: Any) -> bytes:
    """Return an answer as JSON on one line, whatever it holds that was not decoded."""
    text = msgspec.json.encode(value)
    # ``in`` would first try whether it is a number, which costs more than to look.
    return text if text.find(b"\n") < 0 and text.find(b"\r") < 0 else text.translate(_LINE_BREAKS)


@lru_cache(maxsize=64)
def verbatim(kind: Any) -> type[msgspec.Struct] | None:
    """Return a type that decodes what a Struct does, and encodes to the same, in half the time.

    What its ``dict[str, Any] | None`` fields hold is neither built nor written anew: it is refused where it
    is no JSON object, and else keeps its spaces, and its numbers each digit, also those that no float holds.

    Args:
        kind: The type of an answer.

    Returns:
        A type to decode into; None where it would gain nothing, or lose what the Struct looks for itself.
    """
    if not is_struct(kind) or hasattr(kind, "__post_init__"):
        return None
    fields = msgspec.structs.fields(kind)
    names = {field.name: field.encode_name for field in fields if _is_object(field)}
    if not names:
        return None

    def look_over(value: Any) -> None:
        for name, encode_name in names.items():
            raw = getattr(value, name)
            if raw is not _NULL:
                _look_over(value, name, encode_name, raw)

    return alike(kind, dict.fromkeys(names, (msgspec.Raw, _NULL)), look_over)


def _is_object(field: msgspec.structs.FieldInfo) -> bool:
    return field.type == _OBJECT and field.default is None


def _look_over(value: Any, name: str, encode_name: str, raw: msgspec.Raw) -> None:
    """Check what msgspec leaves unchecked in JSON that it does not decode."""
    text = str(raw, "utf-8")
    if not text.startswith("{"):
        if text != "null":
            raise ValueError(f"Expected an object or null as {encode_name!r}")
        # The very one, which is left out where defaults are.
        setattr(value, name, _NULL)
