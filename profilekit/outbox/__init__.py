"""Durable writes for services: kept in a file until the vendor has them.

A ``put`` returns when the write is on the disk; the outbox delivers it, now or after a restart::

    async with ProfileClient.from_env() as client, Outbox("writes.db", client) as outbox:
        await outbox.put(userflux.UpdateProfile("user-1", properties={"plan": "pro"}))
"""

from profilekit.outbox.delivery import BackOff
from profilekit.outbox.outbox import Outbox, OutboxStats

__all__ = ["BackOff", "Outbox", "OutboxStats"]
