"""What was done so far, as values."""

from collections import Counter

import msgspec

from profilekit.rate import Rate

__all__ = ["LaneState", "LaneStats", "Stats", "together"]


class LaneStats(msgspec.Struct, frozen=True):
    """What one account has done so far.

    Attributes:
        sent: Requests sent to the vendor, retries included.
        succeeded: Requests that ended in a value.
        failed: Requests that ended in an error, by the name of its class.
        retries: Times that a request was sent again.
        permits_waited: Permits that were not there at once.
        coalesced: Reads that were answered by one already under way.
        cache_hits: Reads that the cache answered.
        fenced: Requests that were not sent, since the vendor was taken to be down.
        in_flight: Requests with the vendor right now.
        transport: The name of the class that sends.
    """

    sent: int
    succeeded: int
    failed: dict[str, int]
    retries: int
    permits_waited: int
    coalesced: int
    cache_hits: int
    fenced: int
    in_flight: int
    transport: str


class LaneState(LaneStats, frozen=True):
    """What one account has done, and how it stands with its vendor.

    Attributes:
        queue: Requests that wait for a permit right now.
        rate: The whole quota.
        quota: Where permits come from: ``local``, where no other process is asked.
        share: The part of the quota that is used, from 0 to 1; less than 1 after the vendor throttled.
        retry_budget: Retries that may still be made.
        breaker: ``closed``, or ``open`` while the vendor is taken to be down.
    """

    queue: int
    rate: Rate
    quota: str
    share: float
    retry_budget: float
    breaker: str


class Stats(LaneStats, frozen=True):
    """What a client has done so far: the sums over its accounts, and each by its vendor's name."""

    vendors: dict[str, LaneState]


_SUMMED = ("sent", "succeeded", "retries", "permits_waited", "coalesced", "cache_hits", "fenced", "in_flight")


def together(lanes: dict[str, LaneState]) -> Stats:
    """Add lanes up."""
    failed: Counter[str] = Counter()
    for lane in lanes.values():
        failed.update(lane.failed)
    sums = {name: sum(getattr(lane, name) for lane in lanes.values()) for name in _SUMMED}
    transport = ", ".join(sorted({lane.transport for lane in lanes.values()}))
    return Stats(failed=dict(failed), transport=transport, vendors=lanes, **sums)
