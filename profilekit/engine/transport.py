"""The port between the pure parts of the engine and the network."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

import msgspec

from profilekit.errors import TransportError
from profilekit.request import Account
from profilekit.secret import Secret

__all__ = ["MAX_BODY", "Headers", "HttpRequest", "HttpResponse", "Sent", "Transport", "TransportFactory"]

# A profile takes a few KiB; an answer beyond this is a fault or an attack.
MAX_BODY = 16 * 1024 * 1024


Sent: TypeAlias = Callable[[], None]
"""Says that a request leaves now."""


class Headers(dict[str, str]):
    """Header fields that show no value, as one of them is a key."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        """Hide each value by itself: trackers and aiohttp take it out."""
        super().__init__(zip(fields, map(_hidden, fields.values()), strict=True))

    def __repr__(self) -> str:
        """Show the names."""
        return f"<Headers {', '.join(self)}>"


def _hidden(value: object) -> Any:
    # What is no text no header can hold: it is refused later, and must not show meanwhile.
    return Secret(value) if isinstance(value, str) else None


class HttpRequest(msgspec.Struct, frozen=True, gc=False):
    """What goes to the vendor.

    Attributes:
        method: The HTTP method.
        target: Path and query, percent-encoded; the path prefix of the account's base_url included.
        headers: Header fields.
        body: The body, or None.
    """

    method: str
    target: str
    headers: Headers
    body: bytes | None = None

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show no target, as it may hold an id, and no body."""
        return [("method", self.method)]

    def __repr__(self) -> str:
        """Show no target, as it may hold an id, and no body."""
        return f"HttpRequest(method={self.method!r})"


def _keep() -> None:
    """Leave the connection to the transport."""


class HttpResponse(msgspec.Struct, frozen=True, gc=False):
    """What came back, whole.

    Attributes:
        status: The HTTP status.
        headers: Header fields; names in lower case, or a mapping that does not care about case.
        body: The body, decompressed.
        discard: Closes the connection that the answer came over, so that no other answer comes over it.
        fault: Why the body could not be decompressed; it is then as it came.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    discard: Callable[[], None] = _keep
    fault: TransportError | None = None

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show no header and no body: they come from outside, and may repeat a key."""
        return [("status", self.status), ("bytes", len(self.body))]

    def __repr__(self) -> str:
        """Show no header and no body: they come from outside, and may repeat a key."""
        return f"HttpResponse(status={self.status}, bytes={len(self.body)})"


class Transport(Protocol):
    """Carries requests of one account to its origin. The only place with I/O.

    Attributes:
        says_when_sent: Whether ``sent`` is called for every request that leaves. Where it is not, or
            the attribute is missing, a request that is cancelled counts as if it had left.
    """

    async def exchange(self, request: HttpRequest, deadline: float, sent: Sent) -> HttpResponse:
        """Send one request once and return the whole answer.

        Args:
            request: What to send.
            deadline: When to give up, on the clock of the event loop.
            sent: To be called when the request leaves, which is when it starts to count against the
                quota. Where it is not called, the request counts from when its answer is there.

        Raises:
            ConnectionFailedError: When no complete answer arrived; ``maybe_applied`` is False only if
                the request surely did not reach the vendor.
            RequestTimeoutError: When the deadline passed.
        """
        ...

    async def close(self) -> None:
        """Close every connection. Exchanges under way end with ConnectionFailedError."""
        ...


TransportFactory: TypeAlias = Callable[[Account], Transport]
