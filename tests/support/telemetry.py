"""OpenTelemetry's own SDK around profilekit's observer, and what it exports."""

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from profilekit.otel import OpenTelemetry


class Telemetry:
    """Give ``observer`` to a client, and look at what comes out."""

    def __init__(self, *, sampler=ALWAYS_ON, **settings):
        self._exporter = InMemorySpanExporter()
        self.tracers = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._reader = InMemoryMetricReader()
        self.meters = MeterProvider([self._reader], shutdown_on_exit=False)
        self.observer = OpenTelemetry(self.tracers, self.meters, **settings)

    def span(self, name):
        """Return a context manager: a span of the caller's own."""
        return self.tracers.get_tracer("caller").start_as_current_span(name)

    @property
    def spans(self):
        return list(self._exporter.get_finished_spans())

    def metrics(self):
        """Return what is collected now, by name."""
        data = self._reader.get_metrics_data()
        resources = data.resource_metrics if data else []
        scopes = [scope for resource in resources for scope in resource.scope_metrics]
        return {metric.name: metric for scope in scopes for metric in scope.metrics}

    def points(self, name):
        metric = self.metrics().get(name)
        return [] if metric is None else list(metric.data.data_points)

    def values(self, name):
        """Return the values of an instrument, by the values of their attributes."""
        return {tuple(point.attributes.values()): point.value for point in self.points(name)}

    def text(self):
        """Return everything that is exported, as JSON."""
        metrics = self.metrics().values()
        return "".join(each.to_json() for each in (*self.spans, *metrics))
