"""The answer as pydantic models, for those contenders that come with pydantic."""

from typing import Any

import pydantic


class Profile(pydantic.BaseModel):
    user_id: str | None = None
    device_id: str | None = None
    amplitude_id: int | None = None
    user_properties: dict[str, Any] | None = None
    computed_properties: dict[str, Any] | None = None
    amp_props: dict[str, Any] | None = None
    cohort_ids: list[str] | None = None


class Answer(pydantic.BaseModel):
    userData: Profile
