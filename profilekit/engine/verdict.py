"""From an answer that is of no use to the error that says why, without a key in it."""

import json
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from html import escape
from typing import Any
from urllib.parse import quote

from profilekit import errors
from profilekit.engine.transport import HttpResponse
from profilekit.errors import DecodeError, RequestError, StatusError
from profilekit.request import Account, Request, title

__all__ = ["decode_error", "retry_after", "status_error", "told", "verdict"]

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


def status_error(request: Request[Any], response: HttpResponse, account: Account) -> StatusError:
    """Return the error that an answer means, with as much of the body as may be shown."""
    status = response.status
    kind = verdict(request, response) or _class_of(status)
    # Blotted out before it is cut, so that no half of a key is left at the end.
    body = _blot(response.body.decode("utf-8", "replace"), request, account)[:_BODY_SHOWN]
    shown = " ".join(body.split())[:_MESSAGE_SHOWN]
    said = f": {shown!a}" if shown else " with an empty body"
    message = f"{title(request)}: the vendor answered {status}{said}{_hint(status, response.body)}"
    error = kind(message, status=status, body=body)
    error.retry_after = retry_after(response.headers, time.time())
    return error


def verdict(request: Request[Any], response: HttpResponse) -> type[StatusError] | None:
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


def decode_error(request: Request[Any], response: HttpResponse, reason: str, account: Account) -> DecodeError:
    """Return the error of a success that has the wrong shape, and where."""
    found = re.search(r" - at `(?:key in )?(.+)`$", reason)
    path = _harmless(_blot(found[1], request, account)) if found else "$"
    said = reason[: found.start()] if found else reason
    content_type = response.headers.get("content-type", "no content type")
    got = f"{response.status}, {len(response.body)} bytes, {_blot(content_type, request, account)[:80]!a}"
    if encoding := response.headers.get("content-encoding"):
        got += f", compressed as {_blot(encoding, request, account)[:80]!a}"
    said = _harmless(_blot(said, request, account))
    return DecodeError(
        f"{title(request)}: the answer ({got}) has the wrong shape at {path}: {said}", path=path
    )


def _harmless(text: str) -> str:
    """Cut a text from outside, and write out what could drive a terminal or end a line of a log."""
    return ascii(text[:_MESSAGE_SHOWN])[1:-1]


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


def told(error: RequestError, request: Request[Any], attempts: int) -> RequestError:
    """Tell an error which request it is about, and how often that was sent."""
    error.request = request
    error.attempts = attempts
    return error
