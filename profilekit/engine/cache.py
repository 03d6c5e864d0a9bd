"""Answers kept for a while: the caller's wishes, and the store that follows them."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

import msgspec

from profilekit.checks import check_count, check_seconds

__all__ = ["Cache", "Store"]

V = TypeVar("V")


class Cache(msgspec.Struct, frozen=True, kw_only=True):
    """How long answers to reads are kept, and how many.

    A write to a user drops what is kept of that user. Identical reads that are under way at the same
    time are sent once. Answers are shared among those who asked, so nobody should change them.

    Args:
        ttl: How long an answer is kept, in seconds.
        max_entries: How many are kept for each vendor; the one used longest ago goes first.
        negative_ttl: How long it is kept, in seconds, that the vendor has no such user.

    Raises:
        ConfigError: When one of them cannot be used.
    """

    ttl: float = 60.0
    max_entries: int = 10_000
    negative_ttl: float = 10.0

    def __post_init__(self) -> None:
        """Refuse what cannot be used."""
        check_seconds("Cache: ttl", self.ttl)
        check_count("Cache: max_entries", self.max_entries)
        check_seconds("Cache: negative_ttl", self.negative_ttl)


class Store(Generic[V]):
    """Entries with a time to live, each about somebody; the one used longest ago goes first."""

    def __init__(self, max_entries: int, now: Callable[[], float]) -> None:
        """Start empty.

        Args:
            max_entries: How many to keep.
            now: A clock, in seconds.
        """
        self._max_entries = max_entries
        self._now = now
        self._entries: OrderedDict[Hashable, tuple[float, V, tuple[str, ...]]] = OrderedDict()
        self._about: dict[str, set[Hashable]] = {}

    def __len__(self) -> int:
        """Count the entries, those that have expired but are still there included."""
        return len(self._entries)

    def get(self, key: Hashable) -> V | None:
        """Return an entry that has not expired."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        expires, value, _ = entry
        if expires <= self._now():
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return value

    def put(self, key: Hashable, value: V, ids: tuple[str, ...], ttl: float) -> None:
        """Keep an entry about these ids for so many seconds."""
        if key in self._entries:
            self._drop(key)
        self._entries[key] = (self._now() + ttl, value, ids)
        for user_id in ids:
            self._about.setdefault(user_id, set()).add(key)
        if len(self._entries) > self._max_entries:
            self._drop(next(iter(self._entries)))

    def forget(self, ids: tuple[str, ...]) -> None:
        """Drop every entry about one of these ids."""
        for user_id in ids:
            for key in tuple(self._about.get(user_id, ())):
                self._drop(key)

    def _drop(self, key: Hashable) -> None:
        _, _, ids = self._entries.pop(key)
        for user_id in ids:
            keys = self._about[user_id]
            keys.discard(key)
            if not keys:
                del self._about[user_id]


def ids_of(request: Any) -> tuple[str, ...]:
    """Return whom a request is about, whichever field says so."""
    values = (getattr(request, name) for name in request.endpoint.ids)
    return tuple(dict.fromkeys(str(value) for value in values if value is not None))
