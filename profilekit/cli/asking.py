"""What the commands share: whose account, and what to ask for."""

import os
from typing import Any

import msgspec

from profilekit.cli.options import given
from profilekit.errors import ConfigError
from profilekit.rate import Rate
from profilekit.request import Account
from profilekit.vendors import amplitude, userflux

__all__ = ["account_of", "asked"]

# What a profile is asked for where the command line does not say: all but recommendations.
_USUAL: dict[str, Any] = {"get_amp_props": True, "get_cohort_ids": True, "get_computations": True}


def account_of(vendor: str, rate: Rate | None = None) -> Account:
    """Return the account of the environment, with the caller's own quota."""
    account: Account | None
    if vendor == "amplitude":
        account, needed = amplitude.Account.from_env(os.environ), "AMPLITUDE_SECRET_KEY"
    else:
        account, needed = userflux.Account.from_env(os.environ), "USERFLUX_READ_KEY or USERFLUX_WRITE_KEY"
    if account is None:
        raise ConfigError(f"no key for {vendor}: set {needed} (or try `profilekit demo`, which needs none)")
    return account if rate is None else msgspec.structs.replace(account, rate=rate)


def asked(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of a GetProfile that were given, or the usual ones."""
    named = given(parameters)
    names = named.keys() - {"device_id", "limit", "rec_type", "propensity_type"}
    return named if names else {**_USUAL, **named}
