"""What somebody who watches is told: each attempt, and what is worth knowing beside them.

Pass an ``Observer`` to ``ProfileClient(observer=...)``. ``profilekit.otel.OpenTelemetry`` is one. Nothing
that it is told holds an id, a key, a URL or a body.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

import msgspec

__all__ = [
    "Attempt",
    "BreakerClosed",
    "BreakerOpened",
    "Closed",
    "DeadLetter",
    "Event",
    "Kind",
    "Look",
    "Observer",
    "Opened",
    "Paused",
    "QuotaBack",
    "QuotaLost",
    "Route",
    "Tell",
]


class Route(msgspec.Struct, frozen=True, cache_hash=True):
    """What all attempts of a class of requests to one account have in common.

    Attributes:
        vendor: The vendor's name.
        method: The HTTP method.
        url_template: The path with its fields as they are named: ``/profile/{user_id}``.
        server_address: The host of the account's ``base_url``.
        server_port: Its port.
        scheme: ``https`` or ``http``.
    """

    vendor: str
    method: str
    url_template: str
    server_address: str
    server_port: int
    scheme: str


class Attempt(msgspec.Struct, eq=False, gc=False):
    """A request on its way to the vendor, once.

    Attributes:
        route: Where it goes. The same object for all of a class of requests.
        number: Which attempt of its request it is; 1 is the first.
        waited: How many seconds it waited for its permit; 0 where there was one.
        bulk: Whether it is one of a stream.
        seconds: How many seconds it took from its permit to its whole answer, once it has ended.
        status: The HTTP status of the answer, if there was one.
        error: The name of the class of the error that it came to, or None. The attempt of a request that
            was cancelled comes to a ``CancelledError``.
        mark: The observer's own, such as a span. It must not refer to the attempt.
    """

    route: Route
    number: int
    waited: float
    bulk: bool
    seconds: float = 0.0
    status: int | None = None
    error: str | None = None
    mark: Any = None


Look: TypeAlias = Callable[[], Any]
"""Returns how something stands; it may be called from any thread."""

Kind: TypeAlias = Literal["client", "outbox", "job"]


class Event(msgspec.Struct, frozen=True):
    """Something that has changed. Its text is one line, for people.

    Attributes:
        level: How much it matters, as in ``logging``.
    """

    level: ClassVar[int] = logging.WARNING


class Paused(Event, frozen=True):
    """A vendor says that its quota is used up: nothing is sent for a while."""

    vendor: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.vendor}: paused for {self.seconds:.1f} s, as the vendor throttles"


class BreakerOpened(Event, frozen=True):
    """A vendor is taken to be down, after so many failures in a row."""

    vendor: str
    failures: int

    def __str__(self) -> str:
        return f"{self.vendor}: taken to be down after {self.failures} failures in a row; only probes go"


class BreakerClosed(Event, frozen=True):
    """A vendor that was taken to be down answers again."""

    vendor: str

    def __str__(self) -> str:
        return f"{self.vendor}: answers again"


class QuotaLost(Event, frozen=True):
    """What keeps a shared quota does not answer; meanwhile we use a share of the quota, if any."""

    vendor: str
    name: str
    why: str
    share: float

    def __str__(self) -> str:
        kept = f"going on with {self.share:.0%} of it" if self.share else "nothing is sent"
        return f"{self.vendor}: the shared quota {self.name} is out of reach ({self.why}); {kept}"


class QuotaBack(Event, frozen=True):
    """What keeps a shared quota answers again."""

    vendor: str
    name: str

    def __str__(self) -> str:
        return f"{self.vendor}: the shared quota {self.name} is back"


class DeadLetter(Event, frozen=True):
    """A write will not be delivered: ``error`` is the name of the class that says why."""

    vendor: str
    error: str

    def __str__(self) -> str:
        return f"{self.vendor}: a write of the outbox became a dead letter: {self.error}"


class Opened(Event, frozen=True):
    """A client, an outbox or a job is there to be looked at until it is ``Closed``.

    Attributes:
        kind: Which of the three.
        name: The client's vendors, the outbox's file, the job's requests.
        look: Returns the client's ``Stats``, the ``OutboxStats`` or the job's ``Progress``.
    """

    level = logging.DEBUG
    kind: Kind
    name: str
    look: Look

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: opened"


class Closed(Event, frozen=True):
    """What was ``Opened`` has come to its end; it can be looked at for a last time."""

    level = logging.DEBUG
    kind: Kind
    name: str
    look: Look

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: closed"


Tell: TypeAlias = Callable[[Event], None]
"""Takes an event."""


@runtime_checkable
class Observer(Protocol):
    """Watches clients at work. What it raises is logged once, and hurts no request.

    It is called on the event loop, between the steps of a request, so it must be quick and never wait.
    """

    def began(self, attempt: Attempt) -> Mapping[str, str] | None:
        """Take note that an attempt has its permit and is about to be sent.

        Returns:
            Headers to send with it, such as a trace context; those of the account win. None for none.
        """
        ...

    def ended(self, attempt: Attempt) -> None:
        """Take note of what came of an attempt."""
        ...

    def changed(self, event: Event) -> None:
        """Take note of a change."""
        ...
