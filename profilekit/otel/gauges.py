"""What clients, outboxes and jobs say of themselves when somebody collects: it costs nothing until then."""

from collections.abc import Callable, Iterable
from functools import partial
from threading import Lock
from typing import Any, Literal, TypeAlias

import msgspec
from opentelemetry.metrics import CallbackOptions, Meter, Observation

from profilekit.engine.stats import LaneState, Stats
from profilekit.observer import Closed, Kind, Look, Opened

__all__ = ["Gauges"]

_Labels: TypeAlias = tuple[tuple[str, str], ...]
_Found: TypeAlias = Iterable[tuple[_Labels, float]]


class _Gauge(msgspec.Struct, frozen=True):
    """An instrument: which kind of thing it is read from, and how.

    ``read`` is given the name of the thing and what it looks like; ``fold`` makes one number of those of
    several things with the same labels.
    """

    of: Kind
    name: str
    make: Literal["counter", "up_down_counter", "gauge"]
    unit: str
    text: str
    read: Callable[[str, Any], _Found]
    fold: Callable[[Iterable[float]], float] = sum


def _each_vendor(value: Callable[[LaneState], float]) -> Callable[[str, Stats], _Found]:
    def read(_: str, stats: Stats) -> _Found:
        return [((("profilekit.vendor", vendor),), value(lane)) for vendor, lane in stats.vendors.items()]

    return read


def _requests(_: str, stats: Stats) -> _Found:
    for vendor, lane in stats.vendors.items():
        label = ("profilekit.vendor", vendor)
        yield (label,), lane.succeeded
        for error, times in lane.failed.items():
            yield (label, ("error.type", error)), times


def _named(label: str, value: Callable[[Any], float]) -> Callable[[str, Any], _Found]:
    return lambda name, seen: [(((label, name),), value(seen))]


def _rows_failed(name: str, progress: Any) -> _Found:
    for error, times in dict(progress.failed).items():
        yield (("profilekit.job.name", name), ("error.type", error)), times


_outbox = partial(_named, "profilekit.outbox.name")
_job = partial(_named, "profilekit.job.name")

_GAUGES = (
    _Gauge(
        "client",
        "profilekit.requests",
        "counter",
        "{request}",
        "Requests that came to an end, by the error that they came to, if any.",
        _requests,
    ),
    _Gauge(
        "client",
        "profilekit.retries",
        "counter",
        "{retry}",
        "Times that a request was sent again.",
        _each_vendor(lambda lane: lane.retries),
    ),
    _Gauge(
        "client",
        "profilekit.cache.hits",
        "counter",
        "{request}",
        "Reads that the cache answered.",
        _each_vendor(lambda lane: lane.cache_hits),
    ),
    _Gauge(
        "client",
        "profilekit.single_flight.hits",
        "counter",
        "{request}",
        "Reads that were answered by one already under way.",
        _each_vendor(lambda lane: lane.coalesced),
    ),
    _Gauge(
        "client",
        "profilekit.breaker.fenced",
        "counter",
        "{request}",
        "Requests that were not sent, since the vendor was taken to be down.",
        _each_vendor(lambda lane: lane.fenced),
    ),
    _Gauge(
        "client",
        "profilekit.breaker.open",
        "up_down_counter",
        "{breaker}",
        "Breakers that are open.",
        _each_vendor(lambda lane: lane.breaker == "open"),
    ),
    _Gauge(
        "client",
        "profilekit.retry.budget",
        "gauge",
        "{retry}",
        "Retries that may still be made.",
        _each_vendor(lambda lane: lane.retry_budget),
    ),
    _Gauge(
        "client",
        "profilekit.quota.share",
        "gauge",
        "1",
        "The part of the vendor's quota that is used; less than 1 after it throttled.",
        _each_vendor(lambda lane: lane.share),
        min,
    ),
    _Gauge(
        "outbox",
        "profilekit.outbox.pending",
        "up_down_counter",
        "{write}",
        "Writes that are not delivered yet.",
        _outbox(lambda stats: stats.pending),
    ),
    _Gauge(
        "outbox",
        "profilekit.outbox.age",
        "gauge",
        "s",
        "How long ago the oldest write that is not delivered was put.",
        _outbox(lambda stats: stats.oldest or 0.0),
        max,
    ),
    _Gauge(
        "outbox",
        "profilekit.outbox.delivered",
        "counter",
        "{write}",
        "Writes that the vendor took, since the file was made.",
        _outbox(lambda stats: stats.delivered),
    ),
    _Gauge(
        "outbox",
        "profilekit.outbox.dead",
        "up_down_counter",
        "{write}",
        "Dead letters in the file.",
        _outbox(lambda stats: stats.dead),
    ),
    _Gauge(
        "outbox",
        "profilekit.outbox.held",
        "up_down_counter",
        "{outbox}",
        "Outboxes of which nothing is delivered at the moment.",
        _outbox(lambda stats: stats.held is not None),
    ),
    _Gauge(
        "job",
        "profilekit.job.rows.planned",
        "up_down_counter",
        "{row}",
        "Requests that the jobs under way are to make.",
        _job(lambda progress: progress.total),
    ),
    _Gauge(
        "job",
        "profilekit.job.rows.done",
        "up_down_counter",
        "{row}",
        "Those of them that have come to something.",
        _job(lambda progress: progress.done),
    ),
    _Gauge(
        "job",
        "profilekit.job.rows.failed",
        "up_down_counter",
        "{row}",
        "Those of them that failed.",
        _rows_failed,
    ),
)


class Gauges:
    """Instruments that look at what is open. They may be read in any thread."""

    def __init__(self, meter: Meter) -> None:
        """Make the instruments."""
        self._lock = Lock()
        self._open: dict[tuple[Kind, Look], str] = {}
        self._past: dict[str, dict[_Labels, float]] = {}
        for gauge in _GAUGES:
            make: Any = getattr(meter, f"create_observable_{gauge.make}")
            make(gauge.name, [partial(self._observed, gauge)], unit=gauge.unit, description=gauge.text)

    def open(self, event: Opened) -> None:
        """Look at something from now on."""
        with self._lock:
            self._open[event.kind, event.look] = event.name

    def close(self, event: Closed) -> None:
        """Look at it no more; what a client has counted stays."""
        with self._lock:
            self._open.pop((event.kind, event.look), None)
            for gauge in _GAUGES:
                if gauge.of == event.kind == "client" and gauge.make == "counter":
                    past = self._past.setdefault(gauge.name, {})
                    for labels, value in gauge.read(event.name, event.look()):
                        past[labels] = past.get(labels, 0) + value

    def _observed(self, gauge: _Gauge, _: CallbackOptions) -> list[Observation]:
        with self._lock:
            found = {labels: [value] for labels, value in self._past.get(gauge.name, {}).items()}
            open_now = [(name, look) for (kind, look), name in self._open.items() if kind == gauge.of]
        for name, look in open_now:
            for labels, value in _read(gauge, name, look):
                found.setdefault(labels, []).append(value)
        return [Observation(gauge.fold(values), dict(labels)) for labels, values in found.items()]


def _read(gauge: _Gauge, name: str, look: Look) -> list[tuple[_Labels, float]]:
    try:
        return list(gauge.read(name, look()))
    except RuntimeError:
        # The event loop, in its thread, has changed it at this very moment: the next time, then.
        return []
