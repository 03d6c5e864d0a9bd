"""What a user says of a quota that is kept in Redis."""

from typing import Literal
from urllib.parse import urlsplit

import msgspec

from profilekit.checks import check_count, check_text
from profilekit.engine.quota import Quota
from profilekit.errors import ConfigError
from profilekit.request import Account
from profilekit.shared.ledger import Ledger, check_usable
from profilekit.shared.quota import SharedQuota

__all__ = ["RedisQuota"]


class _Place(msgspec.Struct, frozen=True):
    url: str


class RedisQuota(_Place, frozen=True, kw_only=True):
    """One quota for all processes that name it: ``ProfileClient(..., quota=RedisQuota(url, name="..."))``.

    In no window does the vendor see more requests than the account's rate, whichever process sends them.
    A process takes permits in blocks of a fraction of a second; those that it does not use in time come
    back. While Redis does not answer, each process goes on with its last known share of the quota.
    Accounts of several vendors each have a quota of their own under the same name. Where one process
    alone is cut off from Redis, nobody can tell it from one that has died: its share then comes on top of
    what the others use, unless it fails instead.

    Args:
        url: ``redis://``, ``rediss://`` (TLS) or ``unix://``, as redis-py reads them. Redis from 6.2, or
            Valkey, that evicts no keys.
        name: What the vendor counts by: the organisation or the project.
        on_loss: What to do while Redis does not answer: use the last known ``share``, or ``fail``.
        processes: How many processes there are at most. One that starts while Redis does not answer uses
            that part of the quota; without this, it does not start.

    Raises:
        ConfigError: When one of them cannot be used, or redis-py is not installed.
    """

    name: str
    on_loss: Literal["share", "fail"] = "share"
    processes: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        try:
            check_usable(self)
        except ConfigError:
            # It may hold a password, and error trackers show the variables of every frame.
            msgspec.structs.force_setattr(self, "url", "")
            raise
        if not isinstance(self.name, str) or not self.name.strip() or set(self.name) & set("{}\r\n"):
            raise ConfigError("RedisQuota: name must be text without braces, such as name='amplitude-prod'")
        check_text(self.name, "RedisQuota", "name")
        if self.on_loss not in ("share", "fail"):
            raise ConfigError(f"RedisQuota: on_loss must be 'share' or 'fail', got {self.on_loss!r}")
        if self.processes is not None:
            check_count("RedisQuota: processes", self.processes)

    def __call__(self, account: Account) -> Quota:
        """Return the quota of an account, which is to be opened on an event loop."""
        vendor = account.vendor.name
        return SharedQuota(
            Ledger(self, f"profilekit:{{{self.name}:{vendor}}}", account.rate),
            account.rate,
            vendor=vendor,
            name=self.name,
            fails=self.on_loss == "fail",
            part_at_start=1 / self.processes if self.processes else 0.0,
        )

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show where it is, and no password."""
        return [("host", urlsplit(self.url).hostname), ("name", self.name), ("on_loss", self.on_loss)]

    def __repr__(self) -> str:
        """Show where it is, and no password."""
        return f"RedisQuota({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"
