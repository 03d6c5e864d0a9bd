"""Requests to text and back, and several of them to one. Pure."""

from collections.abc import Sequence
from typing import Any

import msgspec

from profilekit.errors import ConfigError
from profilekit.fields import shape_of
from profilekit.request import Request, title

__all__ = ["Writes", "merged"]


class Writes:
    """The classes of writes that an outbox may hold."""

    def __init__(self, classes: Sequence[type[Request[Any]]]) -> None:
        """Take the classes.

        Raises:
            ConfigError: When one of them is none of writes.
        """
        self._decoders: dict[str, msgspec.json.Decoder[Any]] = {}
        self._kinds: dict[type[Request[Any]], str] = {}
        for kind in classes:
            _check_class(kind)
            name = shape_of(kind).title
            if name in self._decoders:
                raise ConfigError(f"Outbox: two of the requests are called {name}: rename one")
            self._decoders[name], self._kinds[kind] = msgspec.json.Decoder(kind), name

    def __contains__(self, kind: str) -> bool:
        """Say whether a class is among them, by its name."""
        return kind in self._decoders

    def kind_of(self, request: Request[Any]) -> str:
        """Return the name of a request's class.

        Raises:
            ConfigError: When it may not be held.
        """
        name = self._kinds.get(type(request))
        if name is not None:
            return name
        if not isinstance(request, Request):
            raise ConfigError(
                f"put: {type(request).__name__} is not a request, such as userflux.UpdateProfile"
            )
        if request.endpoint.is_read:
            raise ConfigError(f"put: {title(request)} is a read: await client.send(...) returns its answer")
        raise ConfigError(f"put: name {title(request)} when the outbox is made: Outbox(..., requests=(...))")

    def encode(self, request: Request[Any]) -> bytes:
        """Return a request as text.

        Raises:
            ConfigError: When it holds what JSON cannot.
        """
        try:
            return msgspec.json.encode(request)
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigError(f"put: {title(request)} cannot be kept in a file: {error}") from None

    def decode(self, kind: str, text: bytes) -> Request[Any]:
        """Return the request of a text.

        Raises:
            ConfigError: When there is no such class, or the class has changed too much since.
        """
        decoder = self._decoders.get(kind)
        if decoder is None:
            raise ConfigError(f"{kind} is not among the requests of this outbox: Outbox(..., requests=(...))")
        try:
            request: Request[Any] = decoder.decode(text)
        except Exception as error:  # noqa: BLE001 - a class of somebody else's may raise anything
            raise ConfigError(f"{kind} cannot be read from the file: {error}") from None
        return request


def merged(requests: Sequence[Request[Any]]) -> tuple[Request[Any], int]:
    """Return one request that does what the first of these do in turn, and how many those are.

    They are of one class, equal in all but the field that its endpoint says may be merged. There the
    later one wins, name by name.
    """
    first = requests[0]
    field = first.endpoint.merge
    if field is None or len(requests) == 1:
        return first, 1
    alike = _but(field, first)
    together: dict[str, Any] | None = getattr(first, field)
    count = 1
    for other in requests[1:]:
        if type(other) is not type(first) or _but(field, other) != alike:
            break
        more: dict[str, Any] | None = getattr(other, field)
        together = more if together is None else together | (more or {})
        count += 1
    try:
        return msgspec.structs.replace(first, **{field: together}), count
    except Exception:  # noqa: BLE001 - a class of somebody else's may find it too much
        return first, 1


def _but(field: str, request: Request[Any]) -> bytes:
    """Return all but one field, as text: to Python 1, 1.0 and True are equal."""
    return msgspec.json.encode(
        [value for name, value in msgspec.structs.asdict(request).items() if name != field]
    )


def _check_class(kind: object) -> None:
    if not (isinstance(kind, type) and issubclass(kind, Request) and hasattr(kind, "endpoint")):
        raise ConfigError(f"Outbox: requests must be classes of requests, got {kind!r}")
    if kind.endpoint.is_read:
        raise ConfigError(f"Outbox: {shape_of(kind).title} is a read, and there is nothing to keep of one")
    field = kind.endpoint.merge
    if field is not None and field not in {part.name for part in shape_of(kind).fields if part.is_object}:
        raise ConfigError(f"Outbox: {shape_of(kind).title} has no JSON object {field!r} that could be merged")
