"""An observer that speaks OpenTelemetry, after its conventions for HTTP clients.

See https://opentelemetry.io/docs/specs/semconv/http/. One thing is left out on purpose: ``url.full``, which
would hold ids.
"""

import time
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from random import random

from opentelemetry import metrics, trace
from opentelemetry.context import get_current
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from opentelemetry.trace import Span, SpanKind, StatusCode, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from profilekit.checks import check_share
from profilekit.observer import Attempt, Closed, DeadLetter, Event, Opened, Paused
from profilekit.otel.gauges import Gauges
from profilekit.otel.traffic import Attributes, Target, Traffic

__all__ = ["OpenTelemetry"]

_SCHEMA = "https://opentelemetry.io/schemas/1.37.0"

# The conventions' own, in seconds.
_DURATIONS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_WAITS = (0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

_NANOSECONDS = 1e9


class OpenTelemetry:
    """Makes metrics and spans of what it is told. Make one for the process, and give it to every client.

    Each attempt is a span, within the span that was current where ``send`` was called, or where a stream
    was first read; and counts in ``http.client.request.duration``. What is profilekit's own is called
    ``profilekit.*``. No attribute holds an id, a key, a URL or a body.

    Args:
        tracer_provider: What makes spans; the process's own, unless told otherwise.
        meter_provider: What makes metrics; likewise.
        propagate: Whether the vendor is sent the trace context (``traceparent`` and ``tracestate``).
        sample: Of which share of the attempts a duration, a wait and a span are recorded; one within a span
            that is recorded always is. With less than 1, ``http.client.request.duration`` counts but that
            share, and ``profilekit.attempts`` and ``profilekit.attempt.time`` still count all. Recording,
            and asking a sampler, takes the SDK (1.45) two thirds as much CPU as the request itself, which
            matters from thousands of requests a second.

    Raises:
        ConfigError: When ``sample`` is no share.
    """

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        *,
        propagate: bool = False,
        sample: float = 1.0,
    ) -> None:
        """Make the instruments."""
        check_share("OpenTelemetry: sample", sample)
        about = "profilekit", version("profilekit")
        self._tracer = trace.get_tracer(*about, tracer_provider, _SCHEMA)
        meter = metrics.get_meter(*about, meter_provider, _SCHEMA)
        self._propagator = TraceContextTextMapPropagator() if propagate else None
        self._sample = sample
        self._traffic = Traffic()
        self._gauges = Gauges(meter)
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
        self._events = meter.create_counter("profilekit.events", "{event}", "Changes worth knowing.")
        self._paused = meter.create_counter("profilekit.pause.time", "s", "How long pauses were to last.")
        meter.create_observable_up_down_counter(
            "http.client.active_requests", [self._active], "{request}", "Number of active HTTP requests."
        )
        meter.create_observable_counter(
            "profilekit.attempts", [self._counts], "{attempt}", "Requests sent, retries included."
        )
        meter.create_observable_counter(
            "profilekit.attempt.time", [self._seconds], "s", "How long they took, together."
        )

    def began(self, attempt: Attempt) -> Mapping[str, str] | None:
        """Count an attempt; if the vendor is to know of the trace, begin its span."""
        target = self._traffic.to(attempt.route)
        target.active += 1
        attempt.mark = target, None
        return None if self._propagator is None else self._propagated(attempt, target, self._propagator)

    def ended(self, attempt: Attempt) -> None:
        """Count what came of an attempt; record it, and end its span."""
        target: Target
        span: Span | None
        target, span = attempt.mark
        target.active -= 1
        outcome = target.outcome(attempt)
        outcome.count += 1
        outcome.seconds += attempt.seconds
        if span is None and self._propagator is None and self._is_chosen():
            span = self._span(attempt, target, outcome.attributes)
        if span is not None:
            self._record(attempt, outcome.attributes, span)

    def changed(self, event: Event) -> None:
        """Count a change, or look at what was opened."""
        if isinstance(event, Opened):
            self._gauges.open(event)
        elif isinstance(event, Closed):
            self._gauges.close(event)
        else:
            self._count(event)

    def _count(self, event: Event) -> None:
        vendor = {"profilekit.vendor": getattr(event, "vendor", "")}
        about = {**vendor, "profilekit.event": type(event).__name__}
        if isinstance(event, DeadLetter):
            about["error.type"] = event.error
        self._events.add(1, about)
        if isinstance(event, Paused):
            self._paused.add(event.seconds, vendor)

    # ---- one attempt ---------------------------------------------------------------------------

    def _propagated(
        self, attempt: Attempt, target: Target, propagator: TraceContextTextMapPropagator
    ) -> Mapping[str, str] | None:
        """Begin the span of an attempt, and return what tells the vendor of it."""
        if not self._is_chosen():
            return None
        span = self._span(attempt, target, target.attributes)
        attempt.mark = target, span
        headers: dict[str, str] = {}
        propagator.inject(headers, trace.set_span_in_context(span))
        return headers

    def _is_chosen(self) -> bool:
        if self._sample >= 1 or random() < self._sample:
            return True
        around = get_current()
        # In a job there is mostly nothing around.
        return bool(around) and trace.get_current_span(around).is_recording()

    def _span(self, attempt: Attempt, target: Target, attributes: Attributes) -> Span:
        """Begin the span of an attempt that began so many seconds ago."""
        start = time.time_ns() - int(attempt.seconds * _NANOSECONDS)
        return self._tracer.start_span(
            target.name, kind=SpanKind.CLIENT, attributes=attributes, start_time=start
        )

    def _record(self, attempt: Attempt, attributes: Attributes, span: Span) -> None:
        """Record an attempt that has ended, and end its span."""
        context = None
        if span.is_recording():
            context = trace.set_span_in_context(span)
            _finish(span, attempt, attributes)
        self._durations.record(attempt.seconds, attributes, context)
        if attempt.waited:
            about: Attributes = {"profilekit.vendor": attempt.route.vendor, "profilekit.bulk": attempt.bulk}
            self._waits.record(attempt.waited, about, context)

    # ---- what is counted -----------------------------------------------------------------------

    def _active(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(target.active, target.attributes) for target in self._traffic.targets]

    def _counts(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(outcome.count, outcome.attributes) for outcome in self._traffic.outcomes]

    def _seconds(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(outcome.seconds, outcome.attributes) for outcome in self._traffic.outcomes]


def _finish(span: Span, attempt: Attempt, attributes: Attributes) -> None:
    """End the span of an attempt that has just ended."""
    span.set_attributes(attributes)
    span.set_attribute("url.scheme", attempt.route.scheme)
    span.set_attribute("profilekit.vendor", attempt.route.vendor)
    if attempt.number > 1:
        span.set_attribute("http.request.resend_count", attempt.number - 1)
    if attempt.waited:
        span.set_attribute("profilekit.permit.wait", attempt.waited)
    if attempt.error is not None:
        span.set_status(StatusCode.ERROR)
    span.end()
