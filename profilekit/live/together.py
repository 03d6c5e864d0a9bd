"""What several clients, in one process or in many, come to for a vendor. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import zip_longest

import msgspec

from profilekit.live.latencies import quantile
from profilekit.live.snapshot import AccountState, Snapshot
from profilekit.live.sources import is_at_work

__all__ = ["Total", "current", "minute_of", "speed_of", "totals"]

# A quota is spread evenly; over fewer seconds its use would flicker.
_LATELY = 10


class Total(msgspec.Struct, frozen=True):
    """What the accounts at a vendor come to.

    Attributes:
        vendor: The vendor's name.
        accounts: One of each client, those that are closed included.
        minute: Requests sent in each of the last seconds, the oldest first.
        limit: Requests a second that the quota leaves to those that are open.
        p50: Seconds that half of the attempts of the last half minute took at most, if there were any.
        p99: Seconds that 99 of 100 took at most.
        failed: Requests that failed, by the name of the error's class.
    """

    vendor: str
    accounts: Sequence[AccountState]
    minute: list[int]
    limit: float
    p50: float | None
    p99: float | None
    failed: Counter[str]

    @property
    def open(self) -> list[AccountState]:
        """The accounts of clients that are open."""
        return [account for account in self.accounts if account.is_open]

    @property
    def is_down(self) -> bool:
        """Whether any client takes the vendor to be down."""
        return any(account.breaker == "open" for account in self.open)

    def sum(self, field: str) -> int:
        """Return the sum of a count over all of them."""
        return sum(getattr(account, field) for account in self.accounts)

    def now(self, field: str) -> int:
        """Return the sum of a count over those that are open."""
        return sum(getattr(account, field) for account in self.open)


def current(snapshot: Snapshot, now: float) -> Snapshot:
    """Return a snapshot in which nothing is open any more if its process is not at work."""
    if is_at_work(snapshot, now):
        return snapshot
    fields = ("accounts", "outboxes", "jobs")
    closed = {
        name: [msgspec.structs.replace(each, is_open=False) for each in getattr(snapshot, name)]
        for name in fields
    }
    return msgspec.structs.replace(snapshot, **closed)


def totals(snapshots: Sequence[Snapshot]) -> list[Total]:
    """Add up the accounts of snapshots, vendor by vendor."""
    vendors = dict.fromkeys(account.vendor for each in snapshots for account in each.accounts)
    return [_total(vendor, snapshots) for vendor in vendors]


def _total(vendor: str, snapshots: Sequence[Snapshot]) -> Total:
    accounts = [account for each in snapshots for account in each.accounts if account.vendor == vendor]
    latencies: Counter[int] = Counter()
    failed: Counter[str] = Counter()
    for snapshot in snapshots:
        latencies.update(snapshot.latencies.get(vendor, {}))
    for account in accounts:
        failed.update(account.failed)
    working = [account for account in accounts if account.is_open]
    return Total(
        vendor=vendor,
        accounts=accounts,
        minute=minute_of(account.minute for account in working),
        limit=_limit(working),
        p50=quantile(latencies, 0.5),
        p99=quantile(latencies, 0.99),
        failed=failed,
    )


def minute_of(minutes: Iterable[list[int]]) -> list[int]:
    """Add up minutes that end at the same second."""
    backwards = zip_longest(*(minute[::-1] for minute in minutes), fillvalue=0)
    return [sum(counts) for counts in backwards][::-1]


def speed_of(minute: list[int]) -> float:
    """Return how much came in a second lately."""
    lately = minute[-_LATELY:]
    return sum(lately) / len(lately) if lately else 0.0


def _limit(accounts: Iterable[AccountState]) -> float:
    """Return how many a second may be sent by all: of a shared quota each shows the whole."""
    own, shared = 0.0, 0.0
    for account in accounts:
        limit = account.requests / account.per * account.share
        if account.quota == "shared":
            shared = max(shared, limit)
        else:
            own += limit
    return own + shared
