"""How a service or a job is doing, for whoever looks: ``Live`` writes it, ``profilekit top`` shows it."""

from profilekit.live.live import Live

__all__ = ["Live"]
