"""Which accounts a client has: one for each vendor, given or found in the environment."""

from collections.abc import Mapping

from profilekit.errors import ConfigError
from profilekit.request import Account
from profilekit.vendors import amplitude, userflux

__all__ = ["by_vendor", "from_environment"]


def from_environment(environ: Mapping[str, str]) -> tuple[Account, ...]:
    """Return the accounts that an environment names.

    Raises:
        ConfigError: When it names none, or one that cannot be used.
    """
    try:
        found = [vendor.Account.from_env(environ) for vendor in (amplitude, userflux)]
    finally:
        # Trackers show the variables of every frame.
        del environ
    accounts = tuple(account for account in found if account is not None)
    if not accounts:
        raise ConfigError(
            "no keys in the environment: AMPLITUDE_SECRET_KEY, USERFLUX_READ_KEY, USERFLUX_WRITE_KEY"
        )
    return accounts


def by_vendor(accounts: tuple[Account, ...]) -> dict[str, Account]:
    """Return the accounts by the name of their vendor.

    Raises:
        ConfigError: When there is none, or two of one vendor.
    """
    found: dict[str, Account] = {}
    for account in accounts:
        if not isinstance(account, Account):
            raise ConfigError(f"ProfileClient: {type(account).__name__} is not an account")
        name = account.vendor.name
        if name in found:
            raise ConfigError(f"ProfileClient: two accounts for {name}: open a client for each")
        found[name] = account
    if not found:
        raise ConfigError("ProfileClient: give at least one account")
    return found
