"""An observer that speaks OpenTelemetry, after its conventions for HTTP clients.

See https://opentelemetry.io/docs/specs/semconv/http/. One thing is left out on purpose: ``url.full``, which
would hold ids.
"""

from collections.abc import Iterable, Mapping
from importlib.metadata import version
from random import random

from opentelemetry import metrics, trace
from opentelemetry.context import get_current
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from opentelemetry.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from profilekit.checks import check_share
from profilekit.observer import Attempt, Closed, DeadLetter, Event, Opened, Paused
from profilekit.otel.gauges import Gauges
from profilekit.otel.recorder import Recorder
from profilekit.otel.traffic import Target, Traffic

__all__ = ["OpenTelemetry"]

_SCHEMA = "https://opentelemetry.io/schemas/1.37.0"


class OpenTelemetry:
    """Makes metrics and spans of what it is told. Make one for the process, and give it to every client.

    Each attempt is a span, within the span that was current where ``send`` was called, or where a stream
    was first read; and counts in ``http.client.request.duration``. Both are recorded within half a second of
    its end. What is profilekit's own is called ``profilekit.*``. No attribute holds an id, a key, a URL or
    a body.

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
        tracer = trace.get_tracer(*about, tracer_provider, _SCHEMA)
        meter = metrics.get_meter(*about, meter_provider, _SCHEMA)
        self._propagator = TraceContextTextMapPropagator() if propagate else None
        self._sample = sample
        self._traffic = Traffic()
        self._gauges = Gauges(meter)
        self._recorder = Recorder(tracer, meter)
        self._events = meter.create_counter("profilekit.events", "{event}", "Changes worth knowing.")
        self._paused = meter.create_counter("profilekit.pause.time", "s", "How long pauses were to last.")
        meter.create_observable_up_down_counter(
            "http.client.active_requests", [self._active], "{request}", "Number of active HTTP requests."
        )
        meter.create_observable_counter(
            "profilekit.attempts", [self._counts], "{attempt}", "Attempts that have ended, retries included."
        )
        meter.create_observable_counter(
            "profilekit.attempt.time", [self._seconds], "s", "How long they took, together."
        )

    def began(self, attempt: Attempt) -> Mapping[str, str] | None:
        """Count an attempt, and choose whether it is recorded."""
        target = self._traffic[attempt.route]
        target.active += 1
        around = get_current()
        # In a job there is mostly nothing around.
        if random() < self._sample or (around and trace.get_current_span(around).is_recording()):
            return self._chosen(attempt, target)
        return None

    def ended(self, attempt: Attempt) -> None:
        """Count what came of an attempt; record it, if it was chosen."""
        target = self._traffic[attempt.route]
        target.active -= 1
        outcome = target.outcomes[attempt.status, attempt.error]
        outcome.count += 1
        outcome.seconds += attempt.seconds
        if attempt.mark is not None:
            self._recorder.end(attempt, target.name, outcome.attributes, attempt.mark)

    def changed(self, event: Event) -> None:
        """Count a change, or look at what was opened."""
        if isinstance(event, Opened):
            self._gauges.open(event)
        elif isinstance(event, Closed):
            self._recorder.flush()
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

    def _chosen(self, attempt: Attempt, target: Target) -> Mapping[str, str] | None:
        """Mark an attempt; if the vendor is to know of the trace, begin its span, and return what says so."""
        if self._propagator is None:
            attempt.mark = trace.INVALID_SPAN
            return None
        attempt.mark = span = self._recorder.begin(attempt, target.name, target.attributes)
        headers: dict[str, str] = {}
        self._propagator.inject(headers, trace.set_span_in_context(span))
        return headers

    # ---- what is counted -----------------------------------------------------------------------

    def _active(self, _: CallbackOptions) -> Iterable[Observation]:
        # What is asked for first: histograms are read after all that is observed.
        self._recorder.flush()
        return [Observation(target.active, target.attributes) for target in self._traffic.targets]

    def _counts(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(outcome.count, outcome.attributes) for outcome in self._traffic.outcomes]

    def _seconds(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(outcome.seconds, outcome.attributes) for outcome in self._traffic.outcomes]
