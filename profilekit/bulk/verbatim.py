"""Answers whose objects are looked over but not taken apart: a list keeps them as the vendor wrote them."""

from functools import lru_cache
from typing import Any

import msgspec

__all__ = ["verbatim"]

_OBJECTS = (dict[str, Any], dict[str, Any] | None)

_ABSENT = msgspec.Raw()

# JSON's line breaks stand between its tokens only, and a list has a line for each row.
_LINE_BREAKS = str.maketrans("\n\r", "  ")


@lru_cache(maxsize=64)
def verbatim(kind: Any) -> type[msgspec.Struct] | None:
    """Return a type that decodes as a Struct does, and encodes to the same, in half the time.

    What its optional ``dict[str, Any]`` fields hold is neither built nor written anew: it is refused where
    it is no JSON object, and else keeps its spaces, and its numbers each digit.

    Args:
        kind: The type of an answer.

    Returns:
        A type to decode into; None where it would gain nothing, or lose what the Struct looks for itself.
    """
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)) or hasattr(kind, "__post_init__"):
        return None
    fields = msgspec.structs.fields(kind)
    names = tuple(field.name for field in fields if field.type in _OBJECTS and field.default is None)
    if not names:
        return None

    def look_over(value: Any) -> None:
        for name in names:
            raw = getattr(value, name)
            if raw is not _ABSENT:
                _look_over(value, name, raw)

    return msgspec.defstruct(
        kind.__name__,
        # All of them, so that they keep their order.
        [_raw(field) if field.name in names else _same(field) for field in fields],
        bases=(kind,),
        namespace={"__post_init__": look_over},
        kw_only=True,
    )


def _raw(field: msgspec.structs.FieldInfo) -> tuple[str, Any, Any]:
    return field.name, msgspec.Raw, msgspec.field(name=field.encode_name, default=_ABSENT)


def _same(field: msgspec.structs.FieldInfo) -> tuple[str, Any, Any]:
    settings: dict[str, Any] = {
        "name": field.encode_name,
        "default": field.default,
        "default_factory": field.default_factory,
    }
    return field.name, field.type, msgspec.field(**settings)


def _look_over(value: Any, name: str, raw: msgspec.Raw) -> None:
    """Check what msgspec leaves unchecked in JSON that it does not decode, and see that it is one line."""
    text = str(raw, "utf-8")
    if not text.startswith("{"):
        if text != "null":
            raise ValueError(f"Expected an object or null as {name!r}")
        msgspec.structs.force_setattr(value, name, _ABSENT)
    elif "\n" in text or "\r" in text:
        msgspec.structs.force_setattr(value, name, msgspec.Raw(text.translate(_LINE_BREAKS)))
