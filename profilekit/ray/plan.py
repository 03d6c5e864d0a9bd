"""What every actor of a job needs to know, as a value that travels to them."""

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from profilekit.checks import check_count, check_seconds
from profilekit.client import ProfileClient
from profilekit.engine import wire
from profilekit.engine.quota import QuotaFactory
from profilekit.errors import ConfigError
from profilekit.rate import Rate
from profilekit.request import Account, Request, title

__all__ = ["Ask", "Plan", "divided"]

Ask: TypeAlias = Callable[[str], Request[Any]]
"""Makes the request of an id; raises ConfigError where there is none to make."""

# Stands for any id where a request is only made to see whether it can be.
_ANYBODY = "anybody"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to ask of each row, through which client, and what the added columns are.

    Its repr shows no key: Ray may write it down.

    Args:
        account: The account, or what an actor has of it.
        request: Makes the request of an id.
        id_column: The column that holds the id.
        into: A type of the caller's own to decode profiles into.
        properties: Properties of profiles to be columns of their own, in place of the whole profile.
        prefix: What the added columns begin with.
        quota: Who else draws on the account's quota; nobody, for None.
        client: Makes a client.
        patience: For how many seconds without an answer rows wait for a vendor that is down.

    Raises:
        ConfigError: When one of them cannot be used.
    """

    account: Account
    request: Ask
    id_column: str
    into: Any
    properties: tuple[str, ...]
    prefix: str
    quota: QuotaFactory | None
    client: Callable[..., ProfileClient]
    patience: float

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if not isinstance(self.account, Account):
            raise ConfigError(f"enrich: {type(self.account).__name__} is not an account")
        if self.into is not None and self.properties:
            raise ConfigError("enrich: give into or properties, not both")
        wire.check_into(self.into)
        check_seconds("enrich: patience", self.patience)
        _check_request(self.request, self.account)

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show all but ``client``, which may hold the password of a proxy."""
        return [(name, getattr(self, name)) for name in self.__struct_fields__ if name != "client"]

    def __repr__(self) -> str:
        """Show all but ``client``, which may hold the password of a proxy."""
        return f"Plan({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"


def _check_request(ask: Ask, account: Account) -> None:
    """Refuse what makes no request that the account can read with."""
    sample = ask(_ANYBODY) if callable(ask) else None
    if not isinstance(sample, Request):
        raise ConfigError("enrich: request must make a request of an id, as amplitude.GetProfile does")
    if not sample.endpoint.is_read:
        raise ConfigError(f"enrich: {title(sample)} writes; profiles are read")
    if sample.endpoint.vendor != account.vendor:
        raise ConfigError(f"enrich: {title(sample)} needs another account than one of {account.vendor.name}")
    account.headers(sample.endpoint)


def divided(plan: Plan, actors: int) -> Plan:
    """Return the plan of one of several actors, which together keep to the account.

    Raises:
        ConfigError: When there is not enough of it for each to have some.
    """
    check_count("enrich: concurrency", actors)
    account, rate = plan.account, plan.account.rate
    if plan.quota is None:
        if rate.requests < actors:
            raise ConfigError(
                f"enrich: {rate} cannot be divided among {actors} actors: take fewer, or a shared quota"
            )
        # Over the same window, so that the parts never come to more than the whole.
        rate = Rate(rate.requests // actors, rate.per)
    in_flight = max(1, account.max_in_flight // actors)
    return msgspec.structs.replace(
        plan, account=msgspec.structs.replace(account, rate=rate, max_in_flight=in_flight)
    )
