"""Stats as a service writes them, and a process that does."""

import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from live_child import READS, WRITES

from profilekit.live.snapshot import FORMAT, AccountState, JobState, OutboxState, Snapshot
from profilekit.live.sources import Source

NOW = 1_800_000_000.0


def account(**fields):
    usual = {
        "vendor": "amplitude",
        "transport": "DirectTransport",
        "requests": 600,
        "per": 60.0,
        "quota": "local",
        "share": 1.0,
        "sent": 12_345,
        "succeeded": 12_300,
        "failed": {"ProfileNotFoundError": 31, "ThrottledError": 4},
        "retries": 9,
        "coalesced": 5,
        "cache_hits": 17,
        "fenced": 2,
        "queue": 64,
        "in_flight": 12,
        "breaker": "closed",
        "minute": [8] * 60,
    }
    return AccountState(**{**usual, **fields})


def outbox(**fields):
    usual = {"name": "writes.db", "pending": 21, "in_flight": 3, "oldest": 72.4, "delivered": 900, "dead": 6}
    return OutboxState(**{**usual, "held": None, **fields})


def job(**fields):
    usual = {"name": "amplitude.GetProfile", "phase": "sending", "done": 2_500, "total": 10_000}
    return JobState(**{**usual, "failed": {"InvalidRequestError": 3}, "minute": [10] * 60, **fields})


def snapshot(**fields):
    usual = {
        "profilekit": FORMAT,
        # Of a machine that we are not, so that nobody looks whether its process runs.
        "host": "elsewhere",
        "pid": 4242,
        "began": NOW - 3_661,
        "written": NOW,
        "has_ended": False,
        "accounts": [account()],
        "latencies": {"amplitude": {-64: 98, -31: 2}},
        "outboxes": [],
        "jobs": [],
    }
    return Snapshot(**{**usual, **fields})


@contextmanager
def at_work(path):
    """Run a service that writes its stats to a path, until they show all that it has sent."""
    child = subprocess.Popen(
        # -P, so that what is installed is run.
        [sys.executable, "-P", Path(__file__).with_name("live_child.py"), path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert child.stdout.readline() == b"sent\n"
        shown(path, lambda seen: seen.snapshot and sent_of(seen.snapshot) == READS + WRITES)
        yield child
    finally:
        child.communicate()


def sent_of(seen):
    return sum(account.sent for account in seen.accounts)


def shown(path, as_wanted):
    """Read a path until what it shows is as wanted, and return that."""
    source = Source(str(path))
    try:
        while not as_wanted(seen := source.read()):
            time.sleep(0.01)
        return seen
    finally:
        source.close()
