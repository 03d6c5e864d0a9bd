"""What a request, an endpoint, a vendor and an account are: the four values that define an API.

Adding an endpoint is one ``Request`` class; adding a vendor is one ``Vendor``, one ``Account`` and
its requests. The engine learns everything it needs from them and never imports a vendor.
"""

import re
from collections.abc import Callable, Hashable, Mapping
from functools import cache
from typing import Any, ClassVar, Generic, Literal, TypeVar, get_args

import msgspec

from profilekit.checks import check_base_url, check_count, check_key, check_text
from profilekit.errors import ConfigError, StatusError
from profilekit.fields import Shape, settle, shape_of
from profilekit.rate import Rate

__all__ = ["Account", "Endpoint", "Request", "Vendor", "result_type", "title"]

R_co = TypeVar("R_co", covariant=True)

# What a program writes into an id by mistake; UserFlux documents that it refuses them.
_NOT_IDS = frozenset({"null", "undefined"})

# Wherever a path is cleaned up, these are steps and not names.
_NO_SEGMENTS = frozenset({".", ".."})

_SPECIAL = _NOT_IDS | _NO_SEGMENTS | {""}


def _no_verdict(status: int, body: bytes) -> None:
    """Leave the verdict to the status."""


class Vendor(msgspec.Struct, frozen=True):
    """A company whose API we speak.

    Args:
        name: A short name, used in messages and in ``client.stats()``.
        classify: Told the status and the body of an answer, names the error that it means, or None
            to let the status decide. It is asked about every answer that is not a success, and about a
            success that lacks the endpoint's ``unwrap`` key.
    """

    name: str
    classify: Callable[[int, bytes], type[StatusError] | None] = _no_verdict


class Endpoint(msgspec.Struct, frozen=True):
    """How the fields of a request travel.

    Args:
        vendor: Whose endpoint it is.
        method: The HTTP method. What is not a GET is a write, and is not sent again blindly.
        path: The path, with the fields that stand in it: ``/profile/{user_id}``.
        query: The fields that travel as query parameters.
        body: The fields that travel as members of a JSON object.
        ids: The fields of which at least one must name somebody.
        answer_ids: The members of an answer that name its user, the first in the order of ``ids``. An
            answer that names only others is refused (``WrongUserError``); without any, none is compared.
        unwrap: The key under which a success holds its value, if it is not the whole body.
        merge: The field, a JSON object, of which writes that wait may be merged: to send them as one
            with all of its members comes to the same.

    A field at its default is left out. Its wire name is the Struct's own: rename it with msgspec's
    ``rename``. True and false travel as such, several values joined with commas.
    """

    vendor: Vendor
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    query: tuple[str, ...] = ()
    body: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    answer_ids: tuple[str, ...] = ()
    unwrap: str | None = None
    merge: str | None = None

    @property
    def is_read(self) -> bool:
        """Whether a request to it changes nothing, so that it may be repeated."""
        return self.method == "GET"

    @property
    def path_fields(self) -> tuple[str, ...]:
        """The fields that stand in the path."""
        return tuple(re.findall(r"{(\w+)}", self.path))


class Request(msgspec.Struct, Generic[R_co], frozen=True):
    """One question to a vendor, as a value whose answer is an ``R``.

    Subclass it with the fields of the endpoint and an ``endpoint``. Requests compare, hash, print
    and pickle by value; they hold no key.

    Raises:
        ConfigError: When an argument is of the wrong type or cannot be sent.
    """

    endpoint: ClassVar[Endpoint]

    def __post_init__(self) -> None:
        """Refuse what cannot be sent, and take a copy of what the caller could still change."""
        shape = shape_of(type(self))
        values = msgspec.structs.astuple(self)
        # Mostly an id is all there is, and there is nothing special about it.
        user_id = values[0] if shape.id_comes_first and values[1:] == shape.other_defaults else None
        if type(user_id) is str and user_id.isascii() and user_id not in _SPECIAL and not user_id.isspace():
            return
        for field, value in zip(shape.fields, values, strict=True):
            if value is field.default or (type(value) is bool and field.is_flag):
                continue
            if type(value) is str and field.is_text:
                check_text(value, shape.title, field.name)
                continue
            settled = settle(value, field, shape.title)
            if settled is not value:
                msgspec.structs.force_setattr(self, field.name, settled)
        _check_ids(msgspec.structs.astuple(self), shape)

    def __hash__(self) -> int:
        """Hash by value; JSON objects are left to the comparison."""
        values = msgspec.structs.astuple(self)
        return hash((type(self), *(value for value in values if isinstance(value, Hashable))))


@cache
def result_type(request: type[Request[Any]]) -> Any:
    """Return the type of a request's answer: the ``R`` of the ``Request[R]`` it subclasses.

    Raises:
        ConfigError: When it names none.
    """
    for parent in request.__mro__:
        for generic in parent.__dict__.get("__orig_bases__", ()):
            arguments = get_args(generic)
            if arguments and not isinstance(arguments[0], TypeVar):
                return arguments[0]
    raise ConfigError(f"{request.__name__} does not name its answer: subclass Request[...]")


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Access to one vendor: keys, where it is, and how much it may be asked.

    Subclass it with the vendor's keys and ``headers``. Everything that a subclass adds is taken for
    a secret: it shows in no repr and is blotted out of every error.

    Args:
        base_url: Scheme, host, and a path prefix if there is one. Plain http is for loopback only,
            unless ``allow_http`` says otherwise.
        rate: The vendor's quota for this account.
        max_in_flight: How many requests may be under way at once, which is also the most
            connections that are held.
        allow_http: Send keys over plain http to another machine.
        accept_aliases: Accept an answer that names another user than the one asked for if a second
            answer, over another connection, names the same one again. For a vendor that answers under
            another id of the same user; a user asked for by such an id costs two requests once.

    Raises:
        ConfigError: When one of them cannot be used.
    """

    vendor: ClassVar[Vendor]

    base_url: str
    rate: Rate
    max_in_flight: int = 64
    allow_http: bool = False
    accept_aliases: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot work, and take the trailing slash off ``base_url``."""
        name = f"{self.vendor.name}.{type(self).__name__}"
        try:
            check_base_url(f"{name}: base_url", self.base_url, allow_http=self.allow_http)
        except ConfigError:
            # It may hold a password, and error trackers show the variables of every frame.
            msgspec.structs.force_setattr(self, "base_url", "")
            raise
        msgspec.structs.force_setattr(self, "base_url", self.base_url.rstrip("/"))
        if not isinstance(self.rate, Rate):
            raise ConfigError(f"{name}: rate must be a Rate, for example Rate(600, per=60)")
        check_count(f"{name}: max_in_flight", self.max_in_flight)
        for key in self._key_names():
            check_key(f"{name}: {key}", getattr(self, key))

    def headers(self, endpoint: Endpoint) -> Mapping[str, str]:
        """Return the headers that authorise a request to the endpoint.

        Raises:
            ConfigError: When this account holds no key for it.
        """
        raise ConfigError(f"{type(self).__name__} does not define headers() for {endpoint.path}")

    def secrets(self) -> tuple[str, ...]:
        """Return every key that this account holds, for blotting out."""
        return tuple(key for name in self._key_names() if (key := getattr(self, name)))

    def _key_names(self) -> tuple[str, ...]:
        return tuple(name for name in self.__struct_fields__ if name not in Account.__struct_fields__)

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Show where it goes and which keys there are, never a key."""
        keys = [(name, _HIDDEN if getattr(self, name) else None) for name in self._key_names()]
        return keys + [(name, getattr(self, name)) for name in Account.__struct_fields__]

    def __repr__(self) -> str:
        """Show where it goes and which keys there are, never a key."""
        fields = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{self.vendor.name}.{type(self).__name__}({fields})"


class _Hidden:
    def __repr__(self) -> str:
        return "***"


_HIDDEN = _Hidden()


def title(request: Request[Any]) -> str:
    """Name a request in a message, without what it holds: ``amplitude.GetProfile``."""
    return f"{request.endpoint.vendor.name}.{type(request).__name__}"


def _check_ids(values: tuple[Any, ...], shape: Shape) -> None:
    nobody = True
    for name, place in shape.ids:
        user_id = values[place]
        if user_id is not None:
            nobody = False
            if user_id in _NOT_IDS:
                raise ConfigError(f"{shape.title}: {name} is {user_id!r}: an id got lost on the way here")
    if nobody and shape.ids:
        raise ConfigError(f"{shape.title}: give {' or '.join(name for name, _ in shape.ids)}")
    for name, place in shape.path_fields:
        if values[place] is None:
            raise ConfigError(f"{shape.title}: give {name}")
        if values[place] in _NO_SEGMENTS:
            raise ConfigError(f"{shape.title}: {name} cannot be '.' or '..': it would name another path")
