"""Which write may go next: in order for each user, whoever else waits. Pure."""

from collections.abc import Iterable
from heapq import heappop, heappush

from profilekit.outbox.rows import Row

__all__ = ["Line"]

_MOST_TOGETHER = 100


class _Place:
    """A row in line: behind how many it stands, and who stands behind it, for each of its ids."""

    __slots__ = ("ahead", "alone", "behind", "row")

    def __init__(self, row: Row) -> None:
        self.row = row
        self.ahead = 0
        self.behind: list[_Place | None] | None = None
        self.alone = False


class Line:
    """A queue for each id. A row may go when it is at the head of all of its queues.

    It keeps its place there while it is tried, and until it is removed.
    """

    def __init__(self, *, merge: bool) -> None:
        """Start empty.

        Args:
            merge: Whether rows about the same ids may go together.
        """
        self._most = _MOST_TOGETHER if merge else 1
        self._places: dict[int, _Place] = {}
        self._tails: dict[str, _Place] = {}
        self._ready: list[int] = []
        self._later: list[tuple[float, int]] = []

    def __len__(self) -> int:
        """Count the rows."""
        return len(self._places)

    @property
    def oldest(self) -> Row | None:
        """The row that was put first."""
        return next((place.row for place in self._places.values()), None)

    def add(self, rows: Iterable[Row]) -> None:
        """Let rows stand in line, in the order of their numbers."""
        for row in rows:
            place = self._places[row.seq] = _Place(row)
            for user_id in row.ids:
                self._stand_behind(self._tails.get(user_id), place, user_id)
                self._tails[user_id] = place
            if not place.ahead:
                heappush(self._ready, row.seq)

    def _stand_behind(self, tail: _Place | None, place: _Place, user_id: str) -> None:
        if tail is not None:
            if tail.behind is None:
                tail.behind = [None] * len(tail.row.ids)
            tail.behind[tail.row.ids.index(user_id)] = place
            place.ahead += 1

    def take(self, now: float, most: int) -> list[list[int]]:
        """Return rows that may go, the oldest first, each with those behind it that may go with it.

        Args:
            now: Seconds, on the clock of ``put_back``.
            most: How many, those that go with one not counted.
        """
        while self._later and self._later[0][0] <= now:
            heappush(self._ready, heappop(self._later)[1])
        count = min(most, len(self._ready))
        return [self._together(self._places[heappop(self._ready)]) for _ in range(count)]

    def _together(self, first: _Place) -> list[int]:
        found, place = [first.row.seq], _follower(first)
        while place is not None and not (first.alone or place.alone) and len(found) < self._most:
            found.append(place.row.seq)
            place = _follower(place)
        return found

    def put_back(self, seq: int, due: float) -> None:
        """Let a row that was taken go again, not before it is due."""
        heappush(self._later, (due, seq))

    def next_due(self) -> float | None:
        """Return when a row that was put back may go, if there is one and none may go now."""
        return self._later[0][0] if self._later and not self._ready else None

    def ids_of(self, seq: int) -> tuple[str, ...]:
        """Return the ids of a row."""
        return self._places[seq].row.ids

    def part(self, seqs: Iterable[int]) -> None:
        """Let rows go alone from now on."""
        for seq in seqs:
            self._places[seq].alone = True

    def remove(self, seqs: Iterable[int]) -> None:
        """Let rows leave, in order from the head: who stands behind them moves up."""
        first: list[int] = []
        for seq in seqs:
            place = self._places.pop(seq)
            behind = place.behind or [None] * len(place.row.ids)
            for user_id, follower in zip(place.row.ids, behind, strict=True):
                if follower is None:
                    del self._tails[user_id]
                    continue
                follower.ahead -= 1
                if not follower.ahead:
                    first.append(follower.row.seq)
        for seq in first:
            # It may have left with the one before it.
            if seq in self._places:
                heappush(self._ready, seq)


def _follower(place: _Place) -> _Place | None:
    """Return the row that stands directly behind another in all queues, and in no other queue."""
    follower = place.behind[0] if place.behind else None
    if follower is None or follower.row.ids != place.row.ids:
        return None
    return follower if all(other is follower for other in place.behind or ()) else None
