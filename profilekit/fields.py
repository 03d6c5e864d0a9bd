"""The fields of a request: what they may hold, and how a value of the caller's becomes one that travels."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec

from profilekit import jsontext
from profilekit.checks import check_text
from profilekit.errors import ConfigError

__all__ = ["Field", "Shape", "default_of", "settle", "shape_of"]


class Field(msgspec.Struct, frozen=True):
    """One field: its name, its default, its type, and whether it is plain text or a plain flag."""

    name: str
    default: object
    kind: Any
    is_text: bool
    is_flag: bool


class Shape(msgspec.Struct, frozen=True):
    """What of a request class does not change from one request to the next."""

    title: str
    fields: tuple[Field, ...]
    first: tuple[Field, ...]
    other_defaults: tuple[object, ...]
    path_fields: tuple[str, ...]


@cache
def shape_of(request: type[Any]) -> Shape:
    """Return the shape of a class of requests."""
    fields = tuple(
        Field(
            field.name,
            default_of(field),
            field.type,
            is_text=field.type in _TEXTS,
            is_flag=field.type in _FLAGS,
        )
        for field in msgspec.structs.fields(request)
    )
    return Shape(
        title=f"{request.endpoint.vendor.name}.{request.__name__}",
        fields=fields,
        first=fields[:1],
        other_defaults=tuple(field.default for field in fields[1:]),
        path_fields=request.endpoint.path_fields,
    )


def default_of(field: msgspec.structs.FieldInfo) -> Any:
    """Return the default of a field; NODEFAULT where it has none."""
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


_TEXTS = (str, str | None)
_FLAGS = (bool, bool | None)


def settle(value: object, kind: Any, where: str) -> Any:
    """Return the value as the field's type has it: several values as a tuple, JSON as a copy.

    Raises:
        ConfigError: When it has not that type, or cannot be sent.
    """
    try:
        if isinstance(value, Mapping):
            value = jsontext.snapshot(dict(value))
        settled = msgspec.convert(value, kind)
    except (msgspec.ValidationError, ConfigError) as error:
        raise ConfigError(f"{where}: {error}") from None
    if isinstance(settled, str):
        check_text(settled, where)
    elif isinstance(settled, tuple):
        _check_several(settled, where)
    elif isinstance(settled, int):
        _check_number(settled, where)
    return settled


def _check_number(number: int, where: str) -> None:
    if not -(2**63) <= number < 2**63:
        raise ConfigError(f"{where} is beyond 64 bits")


def _check_several(values: tuple[object, ...], where: str) -> None:
    if not values:
        raise ConfigError(f"{where} names nothing: leave it out, or give at least one")
    for value in values:
        if isinstance(value, int):
            _check_number(value, where)
        check_text(str(value), where)
        if "," in str(value):
            raise ConfigError(f"{where}: several values travel joined with commas, so none may hold one")
