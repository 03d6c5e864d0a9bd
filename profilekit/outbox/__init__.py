"""Durable writes for services: kept in a file until the vendor has them."""

from profilekit.outbox.delivery import BackOff
from profilekit.outbox.outbox import Outbox, OutboxStats

__all__ = ["BackOff", "Outbox", "OutboxStats"]
