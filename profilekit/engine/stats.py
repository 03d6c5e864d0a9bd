"""What was done so far, as values."""

from collections import Counter

import msgspec

__all__ = ["LaneStats", "Stats", "together"]


class LaneStats(msgspec.Struct, frozen=True):
    """What one account has done so far.

    Attributes:
        sent: Requests sent to the vendor, retries included.
        succeeded: Requests that ended in a value.
        failed: Requests that ended in an error, by the name of its class.
        retries: Times that a request was sent again.
        permits_waited: Permits that were not there at once.
        in_flight: Requests with the vendor right now.
        transport: The name of the class that sends.
    """

    sent: int
    succeeded: int
    failed: dict[str, int]
    retries: int
    permits_waited: int
    in_flight: int
    transport: str


class Stats(LaneStats, frozen=True):
    """What a client has done so far: the sums over its accounts, and each by its vendor's name."""

    vendors: dict[str, LaneStats]


def together(lanes: dict[str, LaneStats]) -> Stats:
    """Add lanes up."""
    failed: Counter[str] = Counter()
    for lane in lanes.values():
        failed.update(lane.failed)
    return Stats(
        sent=sum(lane.sent for lane in lanes.values()),
        succeeded=sum(lane.succeeded for lane in lanes.values()),
        failed=dict(failed),
        retries=sum(lane.retries for lane in lanes.values()),
        permits_waited=sum(lane.permits_waited for lane in lanes.values()),
        in_flight=sum(lane.in_flight for lane in lanes.values()),
        transport=", ".join(sorted({lane.transport for lane in lanes.values()})),
        vendors=lanes,
    )
