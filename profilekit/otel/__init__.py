"""Metrics and spans through OpenTelemetry (extra ``otel``).

Make one for the process, when its providers are set, and give it to every client::

    client = ProfileClient.from_env(observer=OpenTelemetry())

Each attempt is a span, and counts in ``http.client.request.duration``, ``http.client.active_requests``,
``profilekit.attempts`` and ``profilekit.attempt.time``, all by ``http.request.method``, ``server.address``,
``server.port``, ``url.template``, ``http.response.status_code`` and ``error.type``; a span says
``url.scheme`` and ``http.request.resend_count``, too. The rest is profilekit's own:

- by ``profilekit.vendor``: ``profilekit.requests`` (and by ``error.type``), ``profilekit.retries``,
  ``profilekit.retry.budget``, ``profilekit.permit.wait`` (and by ``profilekit.bulk``),
  ``profilekit.quota.share``, ``profilekit.pause.time``, ``profilekit.breaker.open``,
  ``profilekit.breaker.fenced``, ``profilekit.cache.hits``, ``profilekit.single_flight.hits``, and
  ``profilekit.events`` by ``profilekit.event``;
- by ``profilekit.outbox.name``: ``profilekit.outbox.pending``, ``profilekit.outbox.age``,
  ``profilekit.outbox.delivered``, ``profilekit.outbox.dead``, ``profilekit.outbox.held``;
- by ``profilekit.job.name``: ``profilekit.job.rows.planned``, ``profilekit.job.rows.done``, and
  ``profilekit.job.rows.failed`` by ``error.type``.
"""

from profilekit.errors import ConfigError

try:
    from profilekit.otel.observer import OpenTelemetry
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "opentelemetry":
        raise
    raise ConfigError("OpenTelemetry needs an extra: pip install 'profilekit[otel]'") from None

__all__ = ["OpenTelemetry"]
