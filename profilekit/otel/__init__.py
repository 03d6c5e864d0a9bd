"""Metrics and spans through OpenTelemetry (extra ``otel``).

Make one for the process, when its providers are set, and give it to every client::

    client = ProfileClient.from_env(observer=OpenTelemetry())
"""

from profilekit.errors import ConfigError

try:
    from profilekit.otel.observer import OpenTelemetry
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "opentelemetry":
        raise
    raise ConfigError("OpenTelemetry needs an extra: pip install 'profilekit[otel]'") from None

__all__ = ["OpenTelemetry"]
