"""What goes into the file of an outbox and comes out of it, as values."""

from typing import Any

import msgspec

from profilekit.errors import ProfileKitError, StatusError

__all__ = ["Dead", "Ends", "News", "Put", "Refusal", "Row", "Totals", "dead_letter"]


class Put(msgspec.Struct, frozen=True, gc=False):
    """A write that is to be kept: when it was put (epoch seconds), its class, whom it is about, itself."""

    put_at: float
    kind: str
    ids: tuple[str, ...]
    request: bytes


class Row(msgspec.Struct, frozen=True, gc=False):
    """What is held in memory of a write that is kept."""

    seq: int
    put_at: float
    ids: tuple[str, ...]


class Dead(msgspec.Struct, frozen=True, gc=False):
    """Why a write will not be delivered to a vendor, and when that was settled (epoch seconds)."""

    seq: int
    vendor: str
    attempts: int
    type: str
    message: str
    status: int | None
    died_at: float


class Totals(msgspec.Struct):
    """What an outbox has done since its file was made.

    Attributes:
        delivered: Writes that the vendor took.
        requests: Requests that were sent for writes, those that failed included.
        saved: Requests that merging saved.
        repeated: Requests that were sent again after one had failed.
    """

    delivered: int = 0
    requests: int = 0
    saved: int = 0
    repeated: int = 0

    def add(self, more: "Totals") -> None:
        """Add what has been done since."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(more, name))


class Ends(msgspec.Struct):
    """What became of writes since the last commit.

    Attributes:
        gone: Those that were delivered.
        dead: Those that never will be.
        tried: Those that are tried again, each with how often it was and what came of it.
        totals: What it adds to the totals.
    """

    gone: list[int] = []
    dead: list[Dead] = []
    tried: dict[int, tuple[int, str]] = {}
    totals: Totals = msgspec.field(default_factory=Totals)

    def __bool__(self) -> bool:
        """Whether there is anything to commit."""
        return bool(self.gone or self.dead or self.tried)

    def seqs(self) -> list[int]:
        """Return the rows that are through."""
        return [*self.gone, *(letter.seq for letter in self.dead)]

    def add(self, more: "Ends") -> None:
        """Add what came after."""
        self.gone += more.gone
        self.dead += more.dead
        for seq, (attempts, why) in more.tried.items():
            self.tried[seq] = (self.tried.get(seq, (0, ""))[0] + attempts, why)
        self.totals.add(more.totals)


class Refusal(msgspec.Struct, frozen=True):
    """Why a write is not acknowledged, and whether that stays so until the outbox is opened again."""

    why: str
    is_final: bool = False


class News(msgspec.Struct, frozen=True):
    """What a look into the file shows.

    Attributes:
        rows: The rows that were not known yet.
        dead: How many dead letters there are.
        refusal: Why no write is acknowledged now, if that is so.
    """

    rows: list[Row]
    dead: int
    refusal: Refusal | None = None


def dead_letter(seq: int, vendor: str, error: ProfileKitError, now: float) -> Dead:
    """Return why a write will not be delivered.

    Args:
        seq: The row.
        vendor: The name of whom it was for.
        error: What came of it.
        now: Seconds since the epoch.
    """
    status: Any = error.status if isinstance(error, StatusError) else None
    return Dead(seq, vendor, getattr(error, "attempts", 0), type(error).__name__, str(error), status, now)
