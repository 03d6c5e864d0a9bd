"""The answer as pydantic models, for those contenders that come with pydantic."""

from typing import Any

import pydantic


class Recommendation(pydantic.BaseModel):
    rec_id: str | None = None
    child_rec_id: str | None = None
    is_control: bool | None = None
    items: list[str] | None = None
    last_updated: float | None = None


class Propensity(pydantic.BaseModel):
    prop: float | None = None
    pred_id: str | None = None
    prop_type: str | None = None


class Profile(pydantic.BaseModel):
    user_id: str | None = None
    device_id: str | None = None
    amplitude_id: int | None = None
    user_properties: dict[str, Any] | None = None
    computed_properties: dict[str, Any] | None = None
    amp_props: dict[str, Any] | None = None
    cohort_ids: list[str] | None = None
    recommendations: list[Recommendation] | None = None
    propensities: list[Propensity] | None = None


class Answer(pydantic.BaseModel):
    userData: Profile
