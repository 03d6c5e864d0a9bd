"""What becomes of writes that were sent: through, again later, held back with all others, or dead."""

import asyncio
import logging
import random
import time
from typing import Any, Literal

import msgspec

from profilekit._printable import printable
from profilekit.checks import check_seconds
from profilekit.errors import (
    AccessDeniedError,
    AuthError,
    ConfigError,
    ProfileKitError,
    QuotaUnavailableError,
    RequestError,
    StatusError,
    ThrottledError,
    TransportError,
    VendorUnavailableError,
    WrongUserError,
)
from profilekit.outbox.feed import Feed, Flight
from profilekit.outbox.gate import Gate
from profilekit.outbox.journal import Journal
from profilekit.outbox.line import Line
from profilekit.outbox.rows import Totals, dead_letter
from profilekit.outcome import Failed, Outcome

__all__ = ["BackOff", "Delivery", "fate"]

_LOGGER = logging.getLogger("profilekit")

_MOST_DOUBLINGS = 60

# A vendor that asks for more seconds than an hour has more likely made a mistake.
_MOST_ASKED = 3600.0


class BackOff(msgspec.Struct, frozen=True, kw_only=True):
    """How long the writes of a user wait after one of them failed.

    The wait is drawn evenly from zero to its longest ("full jitter"), and is never shorter than the
    Retry-After of the vendor, up to an hour. Other users do not wait.

    Args:
        first: The longest wait after the first failure, in seconds. It doubles from there.
        longest: The longest wait of all, in seconds.

    Raises:
        ConfigError: When one of them cannot be used.
    """

    first: float = 0.5
    longest: float = 60.0

    def __post_init__(self) -> None:
        """Refuse what cannot be used."""
        check_seconds("BackOff: first", self.first)
        check_seconds("BackOff: longest", self.longest)

    def delay(self, failures: int, error: ProfileKitError, draw: random.Random) -> float:
        """Return the seconds to wait after so many failures, of which this is the latest."""
        ceiling = min(self.longest, self.first * 2.0 ** min(failures - 1, _MOST_DOUBLINGS))
        asked = min(_MOST_ASKED, getattr(error, "retry_after", None) or 0.0)
        return max(draw.uniform(0.0, ceiling), asked)


def fate(error: ProfileKitError) -> Literal["again", "fenced", "held", "dead"]:
    """Say what an error means for a write: whose fault it is, and whether that may pass."""
    if isinstance(error, AuthError | AccessDeniedError | ConfigError):
        return "held"
    if isinstance(error, VendorUnavailableError | QuotaUnavailableError) and not error.attempts:
        return "fenced"
    if isinstance(error, ThrottledError | TransportError | VendorUnavailableError | WrongUserError):
        return "again"
    return "dead"


class Delivery:
    """Judges what the client made of each request, and lets the rows go, wait or die."""

    def __init__(
        self, line: Line, gate: Gate, feed: Feed, journal: Journal, *, back_off: BackOff, name: str
    ) -> None:
        """Take all that has a part in it, and what the outbox is called in the log."""
        self._line = line
        self._gate = gate
        self._feed = feed
        self._journal = journal
        self._back_off = back_off
        self._name = printable(name)
        self._failures: dict[int, int] = {}
        self._random = random.Random()
        self._now = asyncio.get_running_loop().time

    def settle(self, outcome: Outcome[Any]) -> None:
        """Do what follows from an outcome."""
        flight = self._feed.landed(outcome.request)
        if flight.is_probe:
            self._gate.back()
        if isinstance(outcome, Failed):
            self._failed(flight, outcome.error)
        else:
            self._delivered(flight)
        self._feed.wake()

    def _delivered(self, flight: Flight) -> None:
        count = len(flight.seqs)
        totals = self._counted(flight)
        totals.delivered, totals.saved = count, count - 1
        self._answered(flight)
        self._journal.gone(flight.seqs, totals)

    def _failed(self, flight: Flight, error: ProfileKitError) -> None:
        match fate(error):
            case "fenced":
                self._fenced(flight, error)
            case "dead":
                self._refused(flight, error)
            case "held":
                self._held(flight, error)
            case _:
                if flight.is_probe:
                    self._gate.wait(self._now())
                self._again(flight, error)

    def _fenced(self, flight: Flight, error: ProfileKitError) -> None:
        """Wait with everybody else; it was not sent, so nothing is counted."""
        now = self._now()
        self._gate.fence(now, getattr(error, "retry_after", None), _said(error))
        self._line.put_back(flight.seqs[0], now)

    def _held(self, flight: Flight, error: ProfileKitError) -> None:
        if self._gate.hold(self._now(), _said(error), again=flight.is_probe):
            _LOGGER.warning(
                "outbox %s: nothing is delivered until the account is put right: %s; one write at a time is"
                " tried, the others wait",
                self._name,
                _said(error),
            )
        # Its own wait lets another one be the next probe, should it be this one's fault after all.
        self._again(flight, error)

    def _again(self, flight: Flight, error: ProfileKitError) -> None:
        first, totals = flight.seqs[0], self._counted(flight, _attempts(error))
        failures = self._failures[first] = self._failures.get(first, 0) + 1
        self._line.put_back(first, self._now() + self._back_off.delay(failures, error, self._random))
        self._journal.tried(flight.seqs, _attempts(error), f"{type(error).__name__}: {error}", totals)

    def _refused(self, flight: Flight, error: ProfileKitError) -> None:
        totals = self._counted(flight)
        self._answered(flight)
        if len(flight.seqs) == 1:
            vendor = flight.request.endpoint.vendor.name
            self._journal.dead(dead_letter(flight.seqs[0], vendor, error, time.time()), totals)
            return
        # Only one of them may be at fault.
        self._line.part(flight.seqs)
        self._line.put_back(flight.seqs[0], self._now())
        self._journal.tried(flight.seqs, _attempts(error), f"{type(error).__name__}: {error}", totals)

    def _answered(self, flight: Flight) -> None:
        """Forget the failures of a flight that the vendor has answered, and let everybody go."""
        self._failures.pop(flight.seqs[0], None)
        if flight.is_probe and self._gate.open():
            _LOGGER.warning("outbox %s: writes are delivered again", self._name)

    def _counted(self, flight: Flight, attempts: int = 1) -> Totals:
        was_sent = int(attempts > 0)
        return Totals(requests=was_sent, repeated=was_sent * (flight.seqs[0] in self._failures))


def _attempts(error: ProfileKitError) -> int:
    return error.attempts if isinstance(error, RequestError) else 0


def _said(error: ProfileKitError) -> str:
    """Say what is wrong, without what the vendor may have repeated of the write."""
    if isinstance(error, StatusError) and error.status:
        return f"{type(error).__name__}, the vendor answered {error.status}"
    return f"{type(error).__name__}: {error}"
