"""The same, of 1% of the attempts: the counters count all of them."""

from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from benchmarks.contenders import profilekit_otel, profilekit_stream
from profilekit.otel import OpenTelemetry


class Sampled(profilekit_stream.ProfileKit):
    label = "profilekit stream, OpenTelemetry of 1%"

    def __init__(self, task):
        super().__init__(task)
        self.observer = OpenTelemetry(*profilekit_otel.providers(ALWAYS_ON), sample=0.01)


make = Sampled
