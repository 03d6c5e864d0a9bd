"""UserFlux's Profiles API: ``GET /profile/{userId}`` and ``POST /profile``.

Vendor documentation: https://docs.userflux.co, and the OpenAPI document of its Integration API.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import msgspec

from profilekit import request
from profilekit.errors import ConfigError
from profilekit.rate import Rate
from profilekit.request import Endpoint, Request, Vendor

__all__ = ["VENDOR", "Account", "GetProfile", "Profile", "UpdateProfile"]

_BASE_URL = "https://integration-api.userflux.co"

VENDOR = Vendor("userflux")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Account(request.Account, frozen=True, kw_only=True):
    """Access to one UserFlux workspace.

    Reads carry the read + write key. Writes carry the write-only key, or the read + write key where
    there is no other.

    Args:
        read_key: The read + write key.
        write_key: The write-only key.
        base_url: Where the API is.
        rate: The quota. UserFlux documents none: 100 requests a second is our assumption, chosen low
            enough to be polite. Set what your contract says.
        max_in_flight: How many requests may be under way at once.
        allow_http: Send the keys over plain http to another machine.
        accept_aliases: Accept answers under another id of the same user, as ``profilekit.Account`` says.

    Raises:
        ConfigError: When one of them cannot be used, or there is no key at all.
    """

    vendor: ClassVar[Vendor] = VENDOR

    read_key: str | None = None
    write_key: str | None = None
    base_url: str = _BASE_URL
    rate: Rate = Rate(100, per=1)

    def __post_init__(self) -> None:
        """Refuse what cannot be used."""
        super().__post_init__()
        if self.read_key is None and self.write_key is None:
            raise ConfigError("userflux.Account: give read_key, write_key or both")

    def headers(self, endpoint: Endpoint) -> Mapping[str, str]:
        """Return the bearer key that the endpoint takes."""
        key = self.read_key if endpoint.is_read else self.write_key or self.read_key
        if key is None:
            raise ConfigError("userflux.Account: reading profiles takes a read_key, the read + write key")
        return {"Authorization": f"Bearer {key}"}

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Account | None":
        """Read ``USERFLUX_READ_KEY``, ``USERFLUX_WRITE_KEY``, ``USERFLUX_BASE_URL``.

        Returns:
            The account, or None when neither key is set.

        Raises:
            ConfigError: When one of them cannot be used.
        """
        try:
            if not environ.get("USERFLUX_READ_KEY") and not environ.get("USERFLUX_WRITE_KEY"):
                return None
            return cls(
                read_key=environ.get("USERFLUX_READ_KEY") or None,
                write_key=environ.get("USERFLUX_WRITE_KEY") or None,
                base_url=environ.get("USERFLUX_BASE_URL") or _BASE_URL,
            )
        finally:
            # Trackers show the variables of every frame.
            del environ


class Profile(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, rename="camel"):
    """One user as UserFlux sees them. Any field may be None.

    Attributes:
        id: The user id.
        anonymous_ids: Linked anonymous ids; texts, though the vendor does not say so.
        properties: What was written for the user.
        computed_properties: What UserFlux computed.
        segments: The keys of the segments that the user is in.
        location_data: Where the user is.
        device_data: What the user holds.
        last_updated_at: When the profile last changed, in epoch milliseconds.
        created_at: When the profile was first seen, in epoch milliseconds.
    """

    id: str | None = None
    anonymous_ids: tuple[Any, ...] | None = None
    properties: dict[str, Any] | None = None
    computed_properties: dict[str, Any] | None = None
    segments: tuple[Any, ...] | None = None
    location_data: dict[str, Any] | None = None
    device_data: dict[str, Any] | None = None
    last_updated_at: int | float | None = None
    created_at: int | float | None = None

    @property
    def last_updated(self) -> datetime | None:
        """When the profile last changed, in UTC."""
        return _moment(self.last_updated_at)

    @property
    def created(self) -> datetime | None:
        """When the profile was first seen, in UTC."""
        return _moment(self.created_at)


def _moment(milliseconds: float | None) -> datetime | None:
    """Return the moment in UTC, or None where there is none in the years 1 to 9999."""
    if milliseconds is None:
        return None
    try:
        return _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None


class GetProfile(Request[Profile], frozen=True, rename="camel"):
    """Ask for one user's profile.

    Args:
        user_id: The user id. It travels as one path segment, so ``.`` and ``..`` cannot be sent.

    Raises:
        ConfigError: When the id cannot be sent.
    """

    endpoint: ClassVar[Endpoint] = Endpoint(
        VENDOR, "GET", "/profile/{user_id}", ids=("user_id",), answer_ids=("id", "anonymousIds")
    )

    user_id: str


class _OfUser(Request[None], frozen=True, rename="camel"):
    user_id: str | None = None


class UpdateProfile(_OfUser, frozen=True, kw_only=True, rename="camel"):
    """Set properties of one user; a property that is not named stays as it is.

    Args:
        user_id: The user id; this or ``anonymous_id`` is required.
        anonymous_id: The anonymous id. Given both, UserFlux links them.
        properties: What to set, by name. Values may be anything that JSON can hold, datetimes, UUIDs,
            enums, dataclasses, NumPy scalars and arrays. They are copied when the request is made.
        external_id: Your own id of the user in another system.
        device_data: What is known of the user's device.
        location_enrichment: Whether UserFlux looks up the location of the sender's address.

    Raises:
        ConfigError: When there is no id, or an argument cannot be sent.
    """

    endpoint: ClassVar[Endpoint] = Endpoint(
        VENDOR,
        "POST",
        "/profile",
        query=("location_enrichment",),
        body=("user_id", "anonymous_id", "external_id", "properties", "device_data"),
        ids=("user_id", "anonymous_id"),
        answer_ids=("id", "anonymousIds"),
        merge="properties",
    )

    anonymous_id: str | None = None
    properties: dict[str, Any] | None = None
    external_id: str | None = None
    device_data: dict[str, Any] | None = None
    location_enrichment: bool | None = None
