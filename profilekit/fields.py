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
    """One field: its name, its default, its type, and whether that is plain text, a flag, a JSON object."""

    name: str
    default: object
    kind: Any
    is_text: bool
    is_flag: bool
    is_object: bool


class Shape(msgspec.Struct, frozen=True):
    """What of a request class does not change from one request to the next.

    Attributes:
        title: The class, as messages name it.
        fields: Its fields.
        id_comes_first: Whether the first field alone can name whom the request is about.
        other_defaults: The defaults of the other fields.
        ids: The fields that name somebody, each with its place.
        path_fields: The fields that stand in the path, each with its place.
    """

    title: str
    fields: tuple[Field, ...]
    id_comes_first: bool
    other_defaults: tuple[object, ...]
    ids: tuple[tuple[str, int], ...]
    path_fields: tuple[tuple[str, int], ...]


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
            is_object=field.type in _OBJECTS,
        )
        for field in msgspec.structs.fields(request)
    )
    endpoint = request.endpoint
    places = {field.name: place for place, field in enumerate(fields)}
    return Shape(
        title=f"{endpoint.vendor.name}.{request.__name__}",
        fields=fields,
        id_comes_first=bool(fields)
        and fields[0].is_text
        and fields[0].name in endpoint.ids
        and {*endpoint.path_fields} <= {fields[0].name},
        other_defaults=tuple(field.default for field in fields[1:]),
        ids=tuple((name, places[name]) for name in endpoint.ids),
        path_fields=tuple((name, places[name]) for name in endpoint.path_fields),
    )


def default_of(field: msgspec.structs.FieldInfo) -> Any:
    """Return the default of a field; NODEFAULT where it has none."""
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


_TEXTS = (str, str | None)
_FLAGS = (bool, bool | None)
_OBJECTS = (dict[str, Any], dict[str, Any] | None)


def settle(value: object, field: Field, title: str) -> Any:
    """Return the value as the field's type has it: several values as a tuple, JSON as a copy.

    Raises:
        ConfigError: When it has not that type, or cannot be sent.
    """
    try:
        if type(value) is dict or isinstance(value, Mapping):
            value = jsontext.snapshot(value if type(value) is dict else dict(value))
            # Nothing else comes out of a mapping, and to convert it would be to look at all of it again.
            if field.is_object:
                return value
        settled = msgspec.convert(value, field.kind)
    except (msgspec.ValidationError, ConfigError) as error:
        raise ConfigError(f"{title}: {field.name}: {error}") from None
    where = f"{title}: {field.name}"
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
