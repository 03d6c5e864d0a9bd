"""Amplitude's User Profile API: ``GET /v1/userprofile``.

Vendor documentation: https://amplitude.com/docs/apis/analytics/user-profile. The OpenAPI document
and the pages disagree in places; requests take the parameters of both, answers the fields of both.
"""

from base64 import b64encode
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import msgspec

from profilekit import request
from profilekit.errors import ConfigError, ProfileNotFoundError, StatusError, ThrottledError
from profilekit.rate import Rate
from profilekit.request import Endpoint, Request, Vendor

__all__ = ["VENDOR", "Account", "GetProfile", "Profile", "Propensity", "Recommendation"]


def classify(status: int, body: bytes) -> type[StatusError] | None:
    """Tell apart the errors whose status Amplitude does not document, by their text."""
    if b"not seen before" in body:
        return ProfileNotFoundError
    if b"exceeds system limit" in body:
        return ThrottledError
    # A success without userData that says why.
    if status < 300 and (b'"error"' in body or b'"message"' in body):
        return StatusError
    return None


VENDOR = Vendor("amplitude", classify)

_BASE_URL = "https://profile-api.amplitude.com"


class Account(request.Account, frozen=True, kw_only=True):
    """Access to one Amplitude organisation. The API is not offered in the EU region.

    With ``secret_key`` alone requests carry ``Authorization: Api-Key``; with ``api_key`` too, HTTP
    Basic, as the newest page asks.

    Args:
        secret_key: The project's secret key.
        api_key: The project's API key.
        base_url: Where the API is.
        rate: The quota: documented as 600 requests a minute for the whole organisation.
        max_in_flight: How many requests may be under way at once.
        allow_http: Send the keys over plain http to another machine.
        accept_aliases: Accept answers under another id of the same user, as ``profilekit.Account`` says.

    Raises:
        ConfigError: When one of them cannot be used.
    """

    vendor: ClassVar[Vendor] = VENDOR

    secret_key: str
    api_key: str | None = None
    base_url: str = _BASE_URL
    rate: Rate = Rate(600, per=60)

    def __post_init__(self) -> None:
        """Refuse what cannot be used."""
        super().__post_init__()
        if not self.secret_key or ":" in (self.api_key or ""):
            raise ConfigError("amplitude.Account: secret_key is required, and an api_key holds no colon")

    def headers(self, endpoint: Endpoint) -> Mapping[str, str]:  # noqa: ARG002 - one key serves all
        """Return the Authorization header, in the form that the keys allow."""
        if self.api_key is None:
            return {"Authorization": f"Api-Key {self.secret_key}"}
        pair = b64encode(f"{self.api_key}:{self.secret_key}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Account | None":
        """Read ``AMPLITUDE_SECRET_KEY``, ``AMPLITUDE_API_KEY``, ``AMPLITUDE_BASE_URL``.

        Returns:
            The account, or None when neither key is set.

        Raises:
            ConfigError: When there is an API key without the secret key, or one cannot be used.
        """
        try:
            secret, api = "AMPLITUDE_SECRET_KEY", "AMPLITUDE_API_KEY"
            if not environ.get(secret) and not environ.get(api):
                return None
            if not environ.get(secret):
                raise ConfigError(f"{api} is set, but {secret} is needed too")
            return cls(
                secret_key=environ[secret],
                api_key=environ.get(api) or None,
                base_url=environ.get("AMPLITUDE_BASE_URL") or _BASE_URL,
            )
        finally:
            # Trackers show the variables of every frame.
            del environ


class Recommendation(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What Amplitude recommends to one user.

    Serve your default experience when ``is_control`` is true, or Amplitude cannot measure anything.

    Attributes:
        rec_id: The recommendation.
        is_control: Whether the user is in the control group.
        child_ids: The recommended items, as the OpenAPI document has them.
        items: The recommended items, as the pages have them.
        child_rec_id: The variant that Amplitude chose, usually ``rec_id`` itself.
        recommendation_type: The type of the model.
        recommendation_source: The name of the model.
        title: The title of the recommendation.
        last_updated: When it was last computed, in epoch seconds.
    """

    rec_id: str | None = None
    is_control: bool | None = None
    child_ids: tuple[str, ...] | None = None
    items: tuple[str, ...] | None = None
    child_rec_id: str | None = None
    recommendation_type: str | None = None
    recommendation_source: str | None = None
    title: str | None = None
    last_updated: int | float | None = None

    @property
    def item_ids(self) -> tuple[str, ...]:
        """The recommended items, whichever shape they came in."""
        return (self.items if self.child_ids is None else self.child_ids) or ()


class Propensity(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """How likely a user is to do what a prediction predicts.

    Attributes:
        prop: The score or the percentile.
        pred_id: The prediction.
        prop_type: ``score`` or ``pct``.
    """

    prop: int | float | None = None
    pred_id: str | None = None
    prop_type: str | None = None


class Profile(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One user as Amplitude sees them. Whatever was not asked for, or does not exist, is None.

    Attributes:
        user_id: The user id.
        device_id: The anonymous id.
        amplitude_id: Amplitude's own id.
        user_properties: User properties, as the OpenAPI document has them.
        computed_properties: Computed properties, as the OpenAPI document has them.
        amp_props: User and computed properties together, as the pages have them.
        cohort_ids: The tracked cohorts that the user is in.
        recommendations: What is recommended.
        propensity: The score of the one prediction that was asked for.
        propensities: The scores of all predictions that were asked for.
    """

    user_id: str | None = None
    device_id: str | None = None
    amplitude_id: int | None = None
    user_properties: dict[str, Any] | None = None
    computed_properties: dict[str, Any] | None = None
    amp_props: dict[str, Any] | None = None
    cohort_ids: tuple[str, ...] | None = None
    recommendations: tuple[Recommendation, ...] | None = None
    propensity: int | float | None = None
    propensities: tuple[Propensity, ...] | None = None

    @property
    def properties(self) -> Mapping[str, Any]:
        """User and computed properties as one mapping, whichever shape they came in.

        A user property wins over a computed one of the same name.
        """
        return {
            **(self.computed_properties or {}),
            **(self.amp_props or {}),
            **(self.user_properties or {}),
        }


class _OfUser(Request[Profile], frozen=True):
    user_id: str | None = None


class GetProfile(_OfUser, frozen=True, kw_only=True):
    """Ask for one user's profile. Only what is asked for comes back.

    Args:
        user_id: The user id; this or ``device_id`` is required.
        device_id: The anonymous id.
        get_recs: Return recommendations.
        rec_id: Which recommendations: one id, or several.
        rec_type: ``model`` or ``random`` in place of the experiment's own choice.
        limit: At most so many recommendation results.
        get_amp_props: Return user properties.
        get_cohort_ids: Return the tracked cohorts.
        get_computations: Return all computed properties.
        comp_id: Which computed properties: one id, or several.
        get_propensity: Return prediction propensities.
        prediction_id: Which predictions: one id, or several.
        propensity_type: ``score`` or ``pct``.

    Raises:
        ConfigError: When there is no id, or an argument cannot be sent.
    """

    endpoint: ClassVar[Endpoint] = Endpoint(
        VENDOR,
        "GET",
        "/v1/userprofile",
        query=(
            "user_id",
            "device_id",
            "get_recs",
            "rec_id",
            "rec_type",
            "limit",
            "get_amp_props",
            "get_cohort_ids",
            "get_computations",
            "comp_id",
            "get_propensity",
            "prediction_id",
            "propensity_type",
        ),
        ids=("user_id", "device_id"),
        answer_ids=("user_id", "device_id"),
        unwrap="userData",
    )

    device_id: str | None = None
    get_recs: bool = False
    rec_id: str | tuple[str, ...] | None = None
    rec_type: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1)] | None = None
    get_amp_props: bool = False
    get_cohort_ids: bool = False
    get_computations: bool = False
    comp_id: int | str | tuple[int | str, ...] | None = None
    get_propensity: bool = False
    prediction_id: str | tuple[str, ...] | None = None
    propensity_type: Literal["score", "pct"] | None = None
