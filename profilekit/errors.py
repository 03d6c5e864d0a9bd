"""Every error that profilekit raises.

ProfileKitError
├─ ConfigError(ValueError)
├─ ClientClosedError
├─ OutboxError
│  └─ OutboxFullError
└─ RequestError                      .request .attempts .retryable .retry_after .maybe_applied
   ├─ QuotaUnavailableError
   ├─ TransportError
   │  ├─ ConnectionFailedError
   │  └─ RequestTimeoutError(TimeoutError)
   ├─ StatusError                    .status .body
   │  ├─ AuthError
   │  ├─ AccessDeniedError
   │  ├─ InvalidRequestError
   │  ├─ ProfileNotFoundError
   │  ├─ ThrottledError
   │  └─ VendorUnavailableError
   ├─ DecodeError                    .path
   └─ WrongUserError

All of them can be pickled, and none of them ever holds a key.
"""

from typing import Any

from profilekit._printable import printable

__all__ = [
    "AccessDeniedError",
    "AuthError",
    "ClientClosedError",
    "ConfigError",
    "ConnectionFailedError",
    "DecodeError",
    "InvalidRequestError",
    "OutboxError",
    "OutboxFullError",
    "ProfileKitError",
    "ProfileNotFoundError",
    "QuotaUnavailableError",
    "RequestError",
    "RequestTimeoutError",
    "StatusError",
    "ThrottledError",
    "TransportError",
    "VendorUnavailableError",
    "WrongUserError",
]


class ProfileKitError(Exception):
    """The root of everything that profilekit raises by itself.

    The message is safe to print and to log: control characters in it are escaped.
    """

    def __str__(self) -> str:
        """Return the message."""
        return printable(super().__str__())


class ConfigError(ProfileKitError, ValueError):
    """A key, a base_url, an account or an argument cannot be used. Nothing was sent."""


class ClientClosedError(ProfileKitError):
    """The client is not open: it was closed, or never entered with ``async with``."""


class OutboxError(ProfileKitError):
    """The file of an outbox cannot be used, or the outbox is not open."""


class OutboxFullError(OutboxError):
    """The outbox holds as many writes as it may, and was told not to wait for room."""


class RequestError(ProfileKitError):
    """One request came to nothing.

    Attributes:
        request: The request that failed, as it was given to the client.
        attempts: How many times it was sent to the vendor; 0 if it never left.
        retryable: Whether sending it again may help and is safe.
        retry_after: Seconds that the vendor asked to wait, if it did.
        maybe_applied: Whether the vendor may have acted on it all the same. It matters for writes.
    """

    request: Any = None
    attempts: int = 0
    retryable: bool = False
    retry_after: float | None = None
    maybe_applied: bool = False


class QuotaUnavailableError(RequestError):
    """What keeps the quota that several processes share does not answer. Nothing was sent."""


class TransportError(RequestError):
    """No complete answer arrived."""


class ConnectionFailedError(TransportError):
    """The connection could not be made, or it broke before the whole answer was there."""

    retryable = True


class RequestTimeoutError(TransportError, TimeoutError):
    """The deadline passed, or no permit could come before it."""


class StatusError(RequestError):
    """The vendor answered, but not with success.

    Attributes:
        status: The HTTP status.
        body: The first 2 KiB of the answer as text, keys blotted out.
    """

    def __init__(self, message: str, *, status: int = 0, body: str = "") -> None:
        """Make the error."""
        super().__init__(message)
        self.status = status
        self.body = body


class AuthError(StatusError):
    """The vendor does not know the key."""


class AccessDeniedError(StatusError):
    """The key is known but may not do this: wrong kind of key, or a source address it is not for."""


class InvalidRequestError(StatusError):
    """The vendor refuses the request as it stands."""


class ProfileNotFoundError(StatusError):
    """The vendor has no such user in this project."""


class ThrottledError(StatusError):
    """The vendor's quota is used up. The request was not acted on."""

    retryable = True


class VendorUnavailableError(StatusError):
    """The vendor failed: retry later, or serve the default experience."""

    retryable = True
    maybe_applied = True


class DecodeError(RequestError):
    """A success whose body has the wrong shape.

    Attributes:
        path: Where in the body, as a JSON path such as ``$.userData.user_id``.
    """

    maybe_applied = True

    def __init__(self, message: str, *, path: str = "$") -> None:
        """Make the error."""
        super().__init__(message)
        self.path = path


class WrongUserError(RequestError):
    """A success that names another user than the one asked for. Its content is not used.

    A server, or a proxy before it, that answers late or twice gives each request the answer to an
    earlier one. The connection is closed, and a read is sent again. For a vendor that answers under
    another id of the same user, see ``Account(accept_aliases=True)``.
    """

    retryable = True
    maybe_applied = True
