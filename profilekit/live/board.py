"""An observer that keeps what a live view shows of a process."""

import os
import socket
import time
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from profilekit.live.latencies import Latencies
from profilekit.live.minute import Minute
from profilekit.live.snapshot import FORMAT, MOST, AccountState, JobState, OutboxState, Snapshot, counted, cut
from profilekit.observer import Attempt, Closed, Event, Look, Opened

__all__ = ["Board"]

_State: TypeAlias = AccountState | OutboxState | JobState

# What was closed is shown until another of its name is opened, so many of them.
_MOST_CLOSED = 20


class _Thing:
    """A client, an outbox or a job, and how it stands."""

    def __init__(self, event: Opened, now: float) -> None:
        self.kind, self.name = event.kind, event.name
        self._look: Look | None = event.look
        self._minutes: dict[str, Minute] = {}
        self.states: list[_State] = []
        self.look(now)

    @property
    def is_open(self) -> bool:
        return self._look is not None

    def is_seen_by(self, look: Look) -> bool:
        return self._look == look

    def look(self, now: float) -> None:
        """Look how it stands, as long as it is open."""
        if self._look is not None:
            self.states = _STATES[self.kind](self, self._look(), now)

    def close(self, now: float) -> None:
        """Look for a last time."""
        self.look(now)
        self.states = [msgspec.structs.replace(state, is_open=False) for state in self.states]
        self._look = None

    def minute(self, name: str, now: float, total: int) -> list[int]:
        return self._minutes.setdefault(name, Minute(now, total)).look(now, total)


class Board:
    """An observer that says how all that is open stands, on the event loop where that happens."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """Start with nothing; ``now`` is a clock that does not go back."""
        self._now = now
        self._began = time.time()
        self._things: list[_Thing] = []
        self._latencies: dict[str, Latencies] = {}

    @property
    def is_open(self) -> bool:
        """Whether anything is open."""
        return any(thing.is_open for thing in self._things)

    def began(self, attempt: Attempt) -> None:
        """There is nothing to note before it has ended."""

    def ended(self, attempt: Attempt) -> None:
        """Count how long an attempt took, if it was let come to something."""
        if attempt.error != "CancelledError":
            vendor = attempt.route.vendor
            latencies = self._latencies.get(vendor)
            if latencies is None:
                latencies = self._latencies[vendor] = Latencies(self._now())
            latencies.add(attempt.seconds)

    def changed(self, event: Event) -> None:
        """Note what is opened and what is closed."""
        if isinstance(event, Opened):
            self._open(event)
        elif isinstance(event, Closed):
            for thing in self._things:
                if thing.is_seen_by(event.look):
                    thing.close(self._now())

    def _open(self, event: Opened) -> None:
        if not self.is_open:
            self._began = time.time()
        kept = [thing for thing in self._things if thing.is_open or not _is_alike(thing, event)]
        closed = [thing for thing in kept if not thing.is_open]
        too_many = closed[: max(0, len(closed) - _MOST_CLOSED)]
        self._things = [thing for thing in kept if thing not in too_many]
        self._things.append(_Thing(event, self._now()))

    def snapshot(self) -> Snapshot:
        """Return how everything stands. Call this every second or so: rates are made of the differences."""
        now = self._now()
        for thing in self._things:
            thing.look(now)
        states = [state for thing in self._things for state in thing.states][:MOST]
        return Snapshot(
            profilekit=FORMAT,
            host=cut(socket.gethostname()),
            pid=os.getpid(),
            began=self._began,
            written=time.time(),
            has_ended=not self.is_open,
            accounts=[state for state in states if isinstance(state, AccountState)],
            latencies={cut(vendor): each.counts(now) for vendor, each in self._latencies.items()},
            outboxes=[state for state in states if isinstance(state, OutboxState)],
            jobs=[state for state in states if isinstance(state, JobState)],
        )


def _is_alike(thing: _Thing, event: Opened) -> bool:
    return (thing.kind, thing.name) == (event.kind, event.name)


def _accounts(thing: _Thing, stats: Any, now: float) -> list[_State]:
    return [
        AccountState(
            vendor=cut(vendor),
            transport=cut(lane.transport),
            requests=lane.rate.requests,
            per=lane.rate.per,
            quota=cut(lane.quota),
            share=lane.share,
            sent=lane.sent,
            succeeded=lane.succeeded,
            failed=counted(lane.failed),
            retries=lane.retries,
            coalesced=lane.coalesced,
            cache_hits=lane.cache_hits,
            fenced=lane.fenced,
            queue=lane.queue,
            in_flight=lane.in_flight,
            breaker=lane.breaker,
            minute=thing.minute(vendor, now, lane.sent),
        )
        for vendor, lane in stats.vendors.items()
    ]


def _outbox(thing: _Thing, stats: Any, _: float) -> list[_State]:
    return [
        OutboxState(
            name=cut(thing.name),
            pending=stats.pending,
            in_flight=stats.in_flight,
            oldest=stats.oldest,
            delivered=stats.delivered,
            dead=stats.dead,
            held=None if stats.held is None else cut(stats.held),
        )
    ]


def _job(thing: _Thing, progress: Any, now: float) -> list[_State]:
    # What an earlier run has done comes all at once, before anything is sent.
    minute = [] if progress.phase == "reading" else thing.minute("", now, progress.done)
    return [
        JobState(
            name=cut(thing.name),
            phase=cut(progress.phase),
            done=progress.done,
            total=progress.total,
            failed=counted(progress.failed),
            minute=minute,
        )
    ]


_STATES: dict[str, Callable[[_Thing, Any, float], list[_State]]] = {
    "client": _accounts,
    "outbox": _outbox,
    "job": _job,
}
