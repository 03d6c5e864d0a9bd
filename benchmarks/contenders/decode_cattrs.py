"""cattrs over orjson: attrs classes, structured from dicts."""

from typing import Any

import attrs
from cattrs.preconf.orjson import make_converter

from benchmarks.contenders import decoding


@attrs.frozen
class Recommendation:
    rec_id: str | None = None
    child_rec_id: str | None = None
    is_control: bool | None = None
    items: list[str] | None = None
    last_updated: float | None = None


@attrs.frozen
class Propensity:
    prop: float | None = None
    pred_id: str | None = None
    prop_type: str | None = None


@attrs.frozen
class Profile:
    user_id: str | None = None
    cohort_ids: list[str] | None = None
    amp_props: dict[str, Any] | None = None
    recommendations: list[Recommendation] | None = None
    propensities: list[Propensity] | None = None


class Cattrs(decoding.Decoding):
    label = "cattrs"

    def decoder(self):
        converter = make_converter()
        return lambda body: converter.loads(body, dict[str, Profile])["userData"]

    @staticmethod
    def who(profile):
        return profile.user_id, profile.cohort_ids


make = Cattrs
