"""What is written and shown: how everything in a process stands, as one line of JSON."""

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from profilekit.errors import ConfigError

__all__ = [
    "FORMAT",
    "MOST",
    "MOST_BYTES",
    "AccountState",
    "JobState",
    "OutboxState",
    "Snapshot",
    "counted",
    "cut",
    "decode",
    "encode",
    "is_of_another_version",
]

FORMAT = 1
MOST = 200
"""How many accounts, errors and so on it may hold."""

MOST_BYTES = 2**20
"""How long it may be."""

# Whoever reads it cannot know who wrote it: nothing in it is larger than can be shown.
_LONGEST_NAME = 200
_Name: TypeAlias = Annotated[str, Meta(max_length=_LONGEST_NAME)]
_Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**53)]
_Amount: TypeAlias = Annotated[float, Meta(ge=0, le=1e12)]
_Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
_Minute: TypeAlias = Annotated[list[_Count], Meta(max_length=60)]
_Failed: TypeAlias = Annotated[dict[_Name, _Count], Meta(max_length=MOST)]
_Bucket: TypeAlias = Annotated[int, Meta(ge=-1000, le=500)]


class AccountState(msgspec.Struct, frozen=True):
    """How an account of a client stands; most fields are those of ``LaneState``.

    Attributes:
        requests: The quota: so many requests ...
        per: ... in any window of so many seconds.
        minute: Requests sent in each of the last seconds, the oldest first.
        is_open: Whether its client is still open.
    """

    vendor: _Name
    transport: _Name
    requests: Annotated[int, Meta(ge=1, le=2**53)]
    per: Annotated[float, Meta(ge=1e-9, le=1e12)]
    quota: _Name
    share: _Share
    sent: _Count
    succeeded: _Count
    failed: _Failed
    retries: _Count
    coalesced: _Count
    cache_hits: _Count
    fenced: _Count
    queue: _Count
    in_flight: _Count
    breaker: _Name
    minute: _Minute
    is_open: bool = True


class OutboxState(msgspec.Struct, frozen=True):
    """How an outbox stands; its fields are those of ``OutboxStats``."""

    name: _Name
    pending: _Count
    in_flight: _Count
    oldest: _Amount | None
    delivered: _Count
    dead: _Count
    held: _Name | None
    is_open: bool = True


class JobState(msgspec.Struct, frozen=True):
    """How a job stands; its fields are those of ``Progress``.

    Attributes:
        minute: Requests that came to something in each of the last seconds, the oldest first.
    """

    name: _Name
    phase: _Name
    done: _Count
    total: _Count
    failed: _Failed
    minute: _Minute
    is_open: bool = True


class Snapshot(msgspec.Struct, frozen=True):
    """How everything that a process has opened stands.

    Attributes:
        profilekit: The format, ``FORMAT``.
        host: The name of the machine.
        pid: The process.
        began: When the first of it was opened, as Unix time.
        written: When this was, as Unix time.
        has_ended: Whether all of it has been closed.
        latencies: By vendor, how many attempts took how long: what ``quantile`` takes.
    """

    profilekit: int
    host: _Name
    pid: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    began: _Amount
    written: _Amount
    has_ended: bool
    accounts: Annotated[list[AccountState], Meta(max_length=MOST)] = []
    latencies: Annotated[dict[_Name, dict[_Bucket, _Count]], Meta(max_length=MOST)] = {}
    outboxes: Annotated[list[OutboxState], Meta(max_length=MOST)] = []
    jobs: Annotated[list[JobState], Meta(max_length=MOST)] = []


class _Head(msgspec.Struct):
    profilekit: int


def cut(name: str) -> str:
    """Cut a name to what a snapshot may hold."""
    return name[:_LONGEST_NAME]


def counted(failed: Mapping[str, int]) -> dict[str, int]:
    """Return the most frequent of some errors, as many as a snapshot may hold."""
    return {cut(name): count for name, count in Counter(failed).most_common(MOST)}


def encode(snapshot: Snapshot) -> bytes:
    """Return a snapshot as a line."""
    return msgspec.json.encode(snapshot) + b"\n"


def decode(line: bytes) -> Snapshot:
    """Read a line.

    Raises:
        ConfigError: When it is no snapshot, or one that only another profilekit can read.
    """
    if is_of_another_version(line):
        raise ConfigError("it was written by another version of profilekit, probably a newer one")
    try:
        return msgspec.json.decode(line, type=Snapshot)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ConfigError("it holds no stats of profilekit") from None


def is_of_another_version(line: bytes) -> bool:
    """Say whether a line is a snapshot, but not in our format."""
    try:
        return msgspec.json.decode(line, type=_Head).profilekit != FORMAT
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
