"""Requests to HTTP and HTTP to values or errors: pure, without an event loop."""

import json
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from functools import lru_cache
from html import escape
from typing import Any, TypeAlias
from urllib.parse import quote, urlsplit

import msgspec

from profilekit import errors, jsontext
from profilekit.checks import check_header
from profilekit.engine.transport import Headers, HttpRequest, HttpResponse
from profilekit.errors import ConfigError, DecodeError, StatusError
from profilekit.request import Account, Request, default_of, result_type, title

__all__ = ["Decoder", "Template", "build", "check_into", "decoder_for", "parse", "retry_after", "template"]

_BODY_SHOWN = 2048
_MESSAGE_SHOWN = 200
# A shorter text is too likely to stand in a message by chance.
_SHORTEST_SECRET = 4

_BY_STATUS: dict[int, type[StatusError]] = {
    401: errors.AuthError,
    403: errors.AccessDeniedError,
    404: errors.ProfileNotFoundError,
    408: errors.VendorUnavailableError,
    425: errors.VendorUnavailableError,
    429: errors.ThrottledError,
}


_UNRESERVED = re.compile(r"[A-Za-z0-9_.~-]+").fullmatch


# ---- requests ----------------------------------------------------------------------------------


_Sent: TypeAlias = tuple[int, str, object]
"""A field that travels by name: its place in the Struct, its wire name, its default."""


class Template(msgspec.Struct, frozen=True):
    """What of a request class does not change from one request of an account to the next."""

    method: str
    path: str
    path_fields: tuple[tuple[int, str], ...]
    query: tuple[_Sent, ...]
    query_of_first: tuple[_Sent, ...]
    body: tuple[_Sent, ...]
    other_defaults: tuple[object, ...]
    headers: Headers


def template(request: type[Request[Any]], account: Account) -> Template:
    """Return what all requests of a class have in common.

    Raises:
        ConfigError: When the account holds no key for them.
    """
    endpoint = request.endpoint
    fields = msgspec.structs.fields(request)
    sent = {field.name: (place, field.encode_name, default_of(field)) for place, field in enumerate(fields)}
    first, *rest = re.split(r"{\w+}", endpoint.path)
    headers = Headers({"Accept": "application/json", **account.headers(endpoint)})
    if endpoint.body:
        headers["Content-Type"] = "application/json"
    for name, value in headers.items():
        check_header(name, value)
    return Template(
        method=endpoint.method,
        path=urlsplit(account.base_url).path + first,
        path_fields=tuple(
            (sent[name][0], text) for name, text in zip(endpoint.path_fields, rest, strict=True)
        ),
        query=tuple(sent[name] for name in endpoint.query),
        query_of_first=tuple(sent[name] for name in endpoint.query if name == fields[0].name),
        body=tuple(sent[name] for name in endpoint.body),
        other_defaults=tuple(default_of(field) for field in fields[1:]),
        headers=headers,
    )


def build(request: Request[Any], form: Template) -> HttpRequest:
    """Return the HTTP request that says what the request says."""
    values = msgspec.structs.astuple(request)
    target = form.path
    for place, rest in form.path_fields:
        target += _query_value(values[place]) + rest
    # Mostly only the first argument is given, and the others need no look.
    mark = "?"
    for place, wire_name, default in form.query_of_first if values[1:] == form.other_defaults else form.query:
        value = values[place]
        if value is not default and value != default:
            target += f"{mark}{wire_name}={_query_value(value)}"
            mark = "&"
    if not form.body:
        return HttpRequest(form.method, target, form.headers)
    members = {
        wire_name: values[place] for place, wire_name, default in form.body if values[place] != default
    }
    return HttpRequest(form.method, target, form.headers, jsontext.dumps(members))


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

    __slots__ = ("_decode", "kind", "unwrap")

    def __init__(self, kind: Any, unwrap: str | None) -> None:
        """Build the decoder.

        Raises:
            ConfigError: When msgspec cannot decode the type.
        """
        self.kind = kind
        self.unwrap = unwrap
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
        raise _status_error(request, response, account)
    if decoder is None:
        return None
    try:
        value = decoder.decode(response.body)
        if value is not msgspec.UNSET:
            return value
        if _verdict(request, response) is None:
            return decoder.empty()
    except Exception as error:  # noqa: BLE001 - a type of the caller's own may raise anything
        reason = str(error) or type(error).__name__
    else:
        raise _status_error(request, response, account)
    raise _decode_error(request, response, reason, account)


def _status_error(request: Request[Any], response: HttpResponse, account: Account) -> StatusError:
    status = response.status
    kind = _verdict(request, response) or _class_of(status)
    # Blotted out before it is cut, so that no half of a key is left at the end.
    body = _blot(response.body.decode("utf-8", "replace"), request, account)[:_BODY_SHOWN]
    shown = " ".join(body.split())[:_MESSAGE_SHOWN]
    said = f": {shown!a}" if shown else " with an empty body"
    message = f"{title(request)}: the vendor answered {status}{said}{_hint(status, response.body)}"
    error = kind(message, status=status, body=body)
    error.retry_after = retry_after(response.headers, time.time())
    return error


def _verdict(request: Request[Any], response: HttpResponse) -> type[StatusError] | None:
    """Return what the vendor makes of an answer; if it stumbles over one, the status decides."""
    try:
        return request.endpoint.vendor.classify(response.status, response.body)
    except Exception:  # noqa: BLE001 - somebody else's function, and an answer from outside
        return None


def _class_of(status: int) -> type[StatusError]:
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if 400 <= status < 500:
        return errors.InvalidRequestError
    if status >= 500:
        return errors.VendorUnavailableError
    return StatusError


def _hint(status: int, body: bytes) -> str:
    if 300 <= status < 400:
        return " (redirects are not followed: is base_url https, and the right host?)"
    if status == 404 and not body:
        return " (an unknown user, or a wrong path in base_url)"
    return ""


def _decode_error(
    request: Request[Any], response: HttpResponse, reason: str, account: Account
) -> DecodeError:
    found = re.search(r" - at `(?:key in )?(.+)`$", reason)
    path = _blot(found[1], request, account)[:_MESSAGE_SHOWN] if found else "$"
    said = reason[: found.start()] if found else reason
    content_type = response.headers.get("content-type", "no content type")
    got = f"{response.status}, {len(response.body)} bytes, {_blot(content_type, request, account)[:80]!a}"
    said = _blot(said, request, account)[:_MESSAGE_SHOWN]
    return DecodeError(
        f"{title(request)}: the answer ({got}) has the wrong shape at {path}: {said}", path=path
    )


def _blot(text: str, request: Request[Any], account: Account) -> str:
    """Take keys out of a text from outside, as they are and as they travel."""
    travelling = (part for value in account.headers(request.endpoint).values() for part in value.split())
    secrets = {*account.secrets(), *travelling} - _SCHEMES
    forms = {form for secret in secrets if len(secret) >= _SHORTEST_SECRET for form in _forms(secret)}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, "***")
    return text


def _forms(secret: str) -> tuple[str, ...]:
    """Return how a secret may come back: as it is, in a URL, in JSON, in HTML."""
    in_json = json.dumps(secret)[1:-1]
    return secret, quote(secret, safe=""), quote(secret), in_json, in_json.replace("/", "\\/"), escape(secret)


_SCHEMES = frozenset({"Basic", "Bearer", "Api-Key"})


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Read Retry-After, in seconds or as a date, as seconds from now; None where it says nothing.

    Args:
        headers: The headers of the answer.
        now: Seconds since the epoch.
    """
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", text):
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return None
