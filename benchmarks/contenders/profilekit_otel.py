"""profilekit's stream with OpenTelemetry: its SDK, metrics on, a sampler that keeps 1% of the traces."""

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from benchmarks.contenders import profilekit_stream
from profilekit.otel import OpenTelemetry

SAMPLER = ParentBased(TraceIdRatioBased(0.01))


def providers(sampler):
    tracer = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    tracer.add_span_processor(BatchSpanProcessor(InMemorySpanExporter()))
    return tracer, MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)


class Telling(profilekit_stream.ProfileKit):
    label = "profilekit stream, OpenTelemetry"

    def __init__(self, task):
        super().__init__(task)
        self.observer = OpenTelemetry(*providers(SAMPLER))


make = Telling
