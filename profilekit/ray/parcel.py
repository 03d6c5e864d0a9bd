"""How a plan travels to actors: sealed, so that nothing shows what it holds, and with its Structs whole.

cloudpickle, through which Ray sends classes that a script or a notebook defines, loses the fields of a
Struct. So those travel as what they are made of.
"""

import io
import pickle
import sys
from functools import partial, reduce
from typing import Any

import msgspec

from profilekit.errors import ConfigError
from profilekit.ray.plan import Plan

__all__ = ["Parcel", "pack"]


class Parcel(msgspec.Struct, frozen=True):
    """A plan, pickled; it holds keys, and shows nothing of them."""

    content: bytes

    def open(self) -> Plan:
        """Return the plan."""
        plan: Plan = pickle.loads(self.content)  # noqa: S301 - of our own making
        return plan

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show how large it is."""
        return [("bytes", len(self.content))]

    def __repr__(self) -> str:
        """Show how large it is."""
        return f"<Parcel of {len(self.content)} bytes>"


def pack(plan: Plan) -> Parcel:
    """Seal a plan.

    Raises:
        ConfigError: When something of it cannot travel.
    """
    import ray.cloudpickle  # noqa: PLC0415 - an extra

    class Pickler(ray.cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, value: Any) -> Any:
            if isinstance(value, type(msgspec.Struct)) and not _is_importable(value):
                return _parts(value)
            return super().reducer_override(value)

    content = io.BytesIO()
    try:
        Pickler(content).dump(plan)
        parcel = Parcel(content.getvalue())
        parcel.open()
    except (TypeError, AttributeError, RecursionError, pickle.PicklingError) as error:
        raise ConfigError(
            f"enrich: quota, request, client and into must be picklable, or defined in a module: {error}"
        ) from None
    return parcel


def _is_importable(kind: type) -> bool:
    """Say whether an actor finds a class where it was defined."""
    if kind.__module__ == "__main__":
        return False
    try:
        found: Any = reduce(getattr, kind.__qualname__.split("."), sys.modules[kind.__module__])
    except (KeyError, AttributeError):
        return False
    return found is kind


def _parts(kind: Any) -> tuple[Any, ...]:
    """Return what makes a Struct again, as pickle wants it: its fields, without its methods."""
    if hasattr(kind, "__post_init__"):
        raise ConfigError(f"enrich: actors need to import {kind.__qualname__}: define it in a module")
    config = kind.__struct_config__
    names = "tag", "tag_field", "omit_defaults", "forbid_unknown_fields", "array_like", "frozen"
    options = {name: getattr(config, name) for name in names}
    fields = [
        (field.name, field.encode_name, field.type, field.default, field.default_factory)
        for field in msgspec.structs.fields(kind)
    ]
    return partial(_made, **options), (kind.__name__, fields)


def _made(name: str, fields: list[tuple[str, str, Any, Any, Any]], **options: Any) -> type:
    field: Any = msgspec.field
    members = [
        (attribute, kind, field(default=default, default_factory=factory, name=encoded))
        for attribute, encoded, kind, default, factory in fields
    ]
    return msgspec.defstruct(name, members, kw_only=True, **options)
