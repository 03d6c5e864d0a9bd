"""Requests to HTTP and HTTP to values or errors: pure, without an event loop."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeAlias
from urllib.parse import quote, urlsplit

import msgspec

from profilekit import jsontext
from profilekit.checks import check_header
from profilekit.engine.transport import Headers, HttpRequest, HttpResponse
from profilekit.engine.verdict import decode_error, status_error, verdict
from profilekit.errors import ConfigError
from profilekit.fields import default_of
from profilekit.observer import Route
from profilekit.request import Account, Endpoint, Request, result_type

__all__ = [
    "Decoder",
    "Template",
    "build",
    "check_into",
    "decoder_for",
    "judge",
    "parse",
    "template",
    "with_headers",
]

_UNRESERVED = re.compile(r"[A-Za-z0-9_.~-]+").fullmatch

# What says where a request ends and whom it is for is the transport's own.
_FRAMING = frozenset({"host", "user-agent", "content-length", "transfer-encoding", "connection"})


# ---- requests ----------------------------------------------------------------------------------


_Sent: TypeAlias = tuple[int, str, object]
"""A field that travels by name: its place in the Struct, its wire name, its default."""


class Template(msgspec.Struct, frozen=True):
    """What of a request class does not change from one request of an account to the next.

    ``alone`` is what stands before and after the first field in the target of a request that gives no
    other, where the first travels in the target.
    """

    method: str
    path: str
    path_fields: tuple[tuple[int, str], ...]
    query: tuple[_Sent, ...]
    body: tuple[_Sent, ...]
    headers: Headers
    alone: tuple[str, str] | None
    first_default: object
    other_defaults: tuple[object, ...]
    route: Route


def template(request: type[Request[Any]], account: Account) -> Template:
    """Return what all requests of a class have in common.

    Raises:
        ConfigError: When the account holds no key for them.
    """
    endpoint = request.endpoint
    fields = msgspec.structs.fields(request)
    sent = {field.name: (place, field.encode_name, default_of(field)) for place, field in enumerate(fields)}
    first, *rest = re.split(r"{\w+}", endpoint.path)
    content = {"Content-Type": "application/json"} if endpoint.body else {}
    headers = Headers({"Accept": "application/json", **account.headers(endpoint), **content})
    for name, value in headers.items():
        check_header(name, value)
    origin = urlsplit(account.base_url)
    path = origin.path + first
    return Template(
        method=endpoint.method,
        path=path,
        path_fields=tuple(
            (sent[name][0], text) for name, text in zip(endpoint.path_fields, rest, strict=True)
        ),
        query=tuple(sent[name] for name in endpoint.query),
        body=tuple(sent[name] for name in endpoint.body),
        headers=headers,
        alone=_around(fields[0], path, rest, endpoint) if fields else None,
        first_default=default_of(fields[0]) if fields else None,
        other_defaults=tuple(default_of(field) for field in fields[1:]),
        route=Route(
            vendor=endpoint.vendor.name,
            method=endpoint.method,
            url_template=origin.path + endpoint.path,
            server_address=origin.hostname or "",
            server_port=origin.port or (443 if origin.scheme == "https" else 80),
            scheme=origin.scheme,
        ),
    )


def _around(
    field: msgspec.structs.FieldInfo, path: str, rest: list[str], endpoint: Endpoint
) -> tuple[str, str] | None:
    """Return the target before and after a field, for requests that give only that one."""
    if endpoint.body:
        return None
    if endpoint.path_fields == (field.name,):
        return path, rest[0]
    if not rest and field.name in endpoint.query:
        return f"{path}?{field.encode_name}=", ""
    return None


def build(request: Request[Any], form: Template) -> HttpRequest:
    """Return the HTTP request that says what the request says."""
    values = msgspec.structs.astuple(request)
    if form.alone and values[1:] == form.other_defaults and values[0] != form.first_default:
        before, after = form.alone
        return HttpRequest(form.method, before + _query_value(values[0]) + after, form.headers)
    target = form.path
    for place, rest in form.path_fields:
        target += _query_value(values[place]) + rest
    mark = "?"
    for place, wire_name, default in form.query:
        value = values[place]
        if value is not default and value != default:
            target += f"{mark}{wire_name}={_query_value(value)}"
            mark = "&"
    if not form.body:
        return HttpRequest(form.method, target, form.headers)
    members = {
        wire_name: value
        for place, wire_name, default in form.body
        if (value := values[place]) is not default and value != default
    }
    return HttpRequest(form.method, target, form.headers, jsontext.dumps(members))


def with_headers(http: HttpRequest, more: Mapping[str, str]) -> HttpRequest:
    """Return a request with more headers, where it has none of the name.

    Raises:
        ConfigError: When one of them could be read as more than one.
    """
    known = _FRAMING.union(name.lower() for name in http.headers)
    added = {name: value for name, value in more.items() if name.lower() not in known}
    for name, value in added.items():
        check_header(name, value)
    return HttpRequest(http.method, http.target, Headers({**http.headers, **added}), http.body)


def _query_value(value: object) -> str:
    if type(value) is str:
        return value if _UNRESERVED(value) else quote(value, safe="")
    if value is True:
        return "true"
    if value is False:
        return "false"
    if not isinstance(value, str | int | float | tuple):
        value = msgspec.to_builtins(value)
    if isinstance(value, tuple | list):
        return ",".join(_query_value(item) for item in value)
    return quote(str(value), safe="")


# ---- answers -----------------------------------------------------------------------------------


class Decoder:
    """Turns the body of a success into one type, under the key that the endpoint wraps it in."""

    __slots__ = ("_decode", "_key", "kind", "unwrap")

    def __init__(self, kind: Any, unwrap: str | None) -> None:
        """Build the decoder.

        Raises:
            ConfigError: When msgspec cannot decode the type.
        """
        self.kind = kind
        self.unwrap = unwrap
        self._key = b"" if unwrap is None else jsontext.dumps(unwrap)
        try:
            self._decode = msgspec.json.Decoder(kind if unwrap is None else _wrapped(kind, unwrap)).decode
        except (TypeError, NameError, NotImplementedError) as error:
            raise ConfigError(f"{kind!r} cannot be decoded into: {error}") from None

    def decode(self, body: bytes) -> Any:
        """Return the value, or UNSET when the wrapping key is missing or null."""
        if self.unwrap is None:
            return self._decode(body)
        value = self._decode(body).value
        return msgspec.UNSET if value is None else value

    def may_decode(self, body: bytes) -> bool:
        """Say whether the wrapping key stands somewhere in a body; costs far less than to decode it."""
        # ``in`` would first try whether the key is a number, which costs more than to look.
        return body.find(self._key) >= 0

    def empty(self) -> Any:
        """Return the value of an answer that holds nothing."""
        return msgspec.json.decode(b"{}", type=self.kind)


def _wrapped(kind: Any, key: str) -> type[msgspec.Struct]:
    # Raw takes null as it is, and cannot stand in a union.
    allowed = kind if kind is msgspec.Raw else kind | None
    return msgspec.defstruct(
        "Answer", [("value", allowed, msgspec.field(name=key, default=msgspec.UNSET))], gc=False
    )


def decoder_for(request: type[Request[Any]], into: Any = None) -> Decoder | None:
    """Return the decoder of a request's answer, or None when it has no answer.

    Args:
        request: The class of the request.
        into: The caller's own type in place of the vendor's, or None.

    Raises:
        ConfigError: When there is nothing to decode, or msgspec cannot decode the type.
    """
    try:
        return _decoder_for(request, into)
    except TypeError:
        raise ConfigError(f"{into!r} cannot be decoded into: it is not a type") from None


def check_into(into: Any) -> None:
    """Refuse a type of the caller's own that nothing can be decoded into.

    Raises:
        ConfigError: When msgspec cannot decode it.
    """
    if into is not None:
        Decoder(into, None)


@lru_cache(maxsize=256)
def _decoder_for(request: type[Request[Any]], into: Any) -> Decoder | None:
    kind = result_type(request)
    if kind is None or kind is type(None):
        if into is not None:
            raise ConfigError(f"{request.__name__} has no answer that could be decoded into {into!r}")
        return None
    return Decoder(kind if into is None else into, request.endpoint.unwrap)


def judge(request: Request[Any], response: HttpResponse, decoder: Decoder | None, account: Account) -> None:
    """Refuse an answer that is no success: the status decides, before anything is made of the body.

    Raises:
        StatusError: Of the class that the vendor, or else the status, says.
        TransportError: When the value of a success is wanted, and its body could not be decompressed.
    """
    if not 200 <= response.status < 300:
        raise status_error(request, response, account)
    if decoder is None:
        return
    if response.fault is not None:
        raise response.fault
    if not decoder.may_decode(response.body) and verdict(request, response) is not None:
        raise status_error(request, response, account)


def parse(
    request: Request[Any],
    response: HttpResponse,
    decoder: Decoder | None,
    account: Account,
) -> Any:
    """Return the value of a success.

    Raises:
        StatusError: Of the class that the vendor, or else the status, says.
        DecodeError: When a success has the wrong shape.
    """
    if not 200 <= response.status < 300:
        raise status_error(request, response, account)
    if decoder is None:
        return None
    try:
        value = decoder.decode(response.body)
        if value is not msgspec.UNSET:
            return value
        if verdict(request, response) is None:
            return decoder.empty()
    except Exception as error:  # noqa: BLE001 - a type of the caller's own may raise anything
        reason = str(error) or type(error).__name__
    else:
        raise status_error(request, response, account)
    raise decode_error(request, response, reason, account)
