"""Structs that look like those of others."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

__all__ = ["alike", "is_struct"]


def is_struct(kind: Any) -> bool:
    """Say whether a type is a Struct whose fields have names, and so can be columns."""
    return (
        isinstance(kind, type) and issubclass(kind, msgspec.Struct) and not kind.__struct_config__.array_like
    )


def alike(
    kind: type[msgspec.Struct],
    others: Mapping[str, tuple[Any, Any]] | None = None,
    look_over: Callable[[Any], None] | None = None,
) -> type[msgspec.Struct]:
    """Return a Struct that travels as another does, with nothing of its code.

    Args:
        kind: The other.
        others: Fields of another type and default, by their name.
        look_over: What is called with each one that is made, instead.
    """
    settings, others = kind.__struct_config__, others or {}
    return msgspec.defstruct(
        kind.__name__,
        [
            _field(field, *others.get(field.name, (field.type, field.default)))
            for field in msgspec.structs.fields(kind)
        ],
        namespace={} if look_over is None else {"__post_init__": look_over},
        kw_only=True,
        omit_defaults=settings.omit_defaults,
        forbid_unknown_fields=settings.forbid_unknown_fields,
        tag=settings.tag,
        tag_field=settings.tag_field,
    )


def _field(field: msgspec.structs.FieldInfo, kind: Any, default: Any) -> tuple[str, Any, Any]:
    settings: dict[str, Any] = {
        "name": field.encode_name,
        "default": default,
        "default_factory": field.default_factory,
    }
    return field.name, kind, msgspec.field(**settings)
