"""Attempts as spans and in histograms, once they have ended, some at a time."""

import asyncio
import time
from collections import deque
from weakref import WeakSet

import msgspec
from opentelemetry import trace
from opentelemetry.context import Context, get_current
from opentelemetry.metrics import Meter
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer

from profilekit.observer import Attempt
from profilekit.otel.traffic import Attributes

__all__ = ["Recorder"]

# The conventions' own, in seconds.
_DURATIONS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_WAITS = (0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

# One after the other, attempts take half the time: the processor has the SDK's code at hand.
_TOGETHER = 32

# For how many seconds an attempt may wait for others.
_LONGEST = 0.5

_NANOSECONDS = 1e9


class _Ended(msgspec.Struct, frozen=True, gc=False):
    """An attempt that has ended, when, and within which context; its span, if it is a valid one."""

    attempt: Attempt
    name: str
    attributes: Attributes
    at: int
    context: Context
    span: Span


class Recorder:
    """Records attempts within half a second. It may be used in any thread."""

    def __init__(self, tracer: Tracer, meter: Meter) -> None:
        """Make the histograms."""
        self._tracer = tracer
        self._ended: deque[_Ended] = deque()
        self._waiting: WeakSet[asyncio.AbstractEventLoop] = WeakSet()
        self._durations = meter.create_histogram(
            "http.client.request.duration",
            "s",
            "Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_DURATIONS,
        )
        self._waits = meter.create_histogram(
            "profilekit.permit.wait",
            "s",
            "How long those attempts waited for a permit that had to wait.",
            explicit_bucket_boundaries_advisory=_WAITS,
        )

    def begin(self, attempt: Attempt, name: str, attributes: Attributes) -> Span:
        """Return the span of an attempt that begins now."""
        return self._span(attempt, name, attributes, get_current(), time.time_ns())

    def end(self, attempt: Attempt, name: str, attributes: Attributes, span: Span) -> None:
        """Record an attempt that ends now, soon.

        Args:
            attempt: What is known of it.
            name: What its span is called.
            attributes: What it counts by.
            span: Its span; the invalid one where none has begun.
        """
        self._ended.append(_Ended(attempt, name, attributes, time.time_ns(), get_current(), span))
        if len(self._ended) >= _TOGETHER:
            self.flush()
            return
        # Of each event loop, as another one may be held up, or at its end.
        loop = asyncio.get_running_loop()
        if loop not in self._waiting:
            self._waiting.add(loop)
            loop.call_later(_LONGEST, self._due, loop)

    def _due(self, loop: asyncio.AbstractEventLoop) -> None:
        self._waiting.discard(loop)
        self.flush()

    def flush(self) -> None:
        """Record what has ended so far."""
        for _ in range(len(self._ended)):
            try:
                ended = self._ended.popleft()
            except IndexError:
                # Another thread was quicker.
                return
            self._record(ended)

    def _record(self, ended: _Ended) -> None:
        attempt, attributes, context, span = ended.attempt, ended.attributes, ended.context, ended.span
        if span is trace.INVALID_SPAN:
            began = ended.at - int(attempt.seconds * _NANOSECONDS)
            span = self._span(attempt, ended.name, attributes, context, began)
        elif span.is_recording():
            span.set_attributes(attributes)
        if span.is_recording():
            context = trace.set_span_in_context(span, context)
            if attempt.error is not None:
                span.set_status(StatusCode.ERROR)
            span.end(ended.at)
        self._durations.record(attempt.seconds, attributes, context)
        if attempt.waited:
            about: Attributes = {"profilekit.vendor": attempt.route.vendor, "profilekit.bulk": attempt.bulk}
            self._waits.record(attempt.waited, about, context)

    def _span(
        self, attempt: Attempt, name: str, attributes: Attributes, context: Context, start: int
    ) -> Span:
        route = attempt.route
        about = {**attributes, "url.scheme": route.scheme, "profilekit.vendor": route.vendor}
        if attempt.number > 1:
            about["http.request.resend_count"] = attempt.number - 1
        if attempt.waited:
            about["profilekit.permit.wait"] = attempt.waited
        return self._tracer.start_span(name, context, SpanKind.CLIENT, about, start_time=start)
