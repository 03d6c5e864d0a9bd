"""What a type checker must infer; mypy --strict reads this file, nothing runs it."""

from collections.abc import AsyncIterator
from typing import assert_type

import msgspec

from profilekit import Failed, Ok, ProfileClient, Rate, Retry, amplitude, userflux
from profilekit.errors import ProfileKitError


class Mine(msgspec.Struct):
    cohort_ids: list[str]


async def source() -> AsyncIterator[userflux.GetProfile]:
    yield userflux.GetProfile("u")


async def reads(client: ProfileClient) -> None:
    assert_type(await client.send(amplitude.GetProfile("u")), amplitude.Profile)
    assert_type(await client.send(userflux.GetProfile("u"), timeout=2), userflux.Profile)
    assert_type(await client.send(amplitude.GetProfile("u"), into=Mine), Mine)
    profile = await client.send(
        amplitude.GetProfile("u", rec_id=("a", "b"), comp_id=7, propensity_type="pct")
    )
    assert_type(profile.cohort_ids, tuple[str, ...] | None)


async def writes(client: ProfileClient) -> None:
    assert_type(await client.send(userflux.UpdateProfile("u", properties={"a": 1})), None)


async def streams(client: ProfileClient) -> None:
    async for outcome in client.stream(amplitude.GetProfile(user) for user in ["a", "b"]):
        assert_type(outcome, Ok[amplitude.Profile] | Failed)
        match outcome:
            case Ok(_, profile):
                assert_type(profile, amplitude.Profile)
            case Failed(_, error):
                assert_type(error, ProfileKitError)
    async for other in client.stream(source(), ordered=True):
        assert_type(other, Ok[userflux.Profile] | Failed)
    async for mine in client.stream([amplitude.GetProfile("u")], into=Mine, window=5):
        assert_type(mine, Ok[Mine] | Failed)
    assert_type(await client.send_all([userflux.GetProfile("u")]), list[Ok[userflux.Profile] | Failed])


def clients() -> None:
    ProfileClient(amplitude.Account(secret_key="s", rate=Rate(1, per=2)), timeout=3, retry=Retry(attempts=2))
    assert_type(ProfileClient.from_env(), ProfileClient)
