"""What a type checker must reject: mypy complains of every ignore here that ignores nothing."""

from profilekit import ProfileClient, Rate, amplitude, userflux

amplitude.GetProfile("u", get_rec=True)  # type: ignore[call-arg]
amplitude.GetProfile("u", "d")  # type: ignore[call-arg]
amplitude.GetProfile("u", get_recs="yes")  # type: ignore[arg-type]
amplitude.GetProfile("u", propensity_type="both")  # type: ignore[arg-type]
amplitude.GetProfile(7)  # type: ignore[arg-type]
userflux.GetProfile()  # type: ignore[call-arg]
userflux.UpdateProfile("u", property={"a": 1})  # type: ignore[call-arg]
userflux.UpdateProfile("u", properties=[1])  # type: ignore[arg-type]
amplitude.Account()  # type: ignore[call-arg]
amplitude.Account("secret")  # type: ignore[call-arg]
amplitude.Account(secret_key="s", rate=600)  # type: ignore[arg-type]
Rate("600", per=60)  # type: ignore[arg-type]
ProfileClient(amplitude.Account(secret_key="s"), retries=3)  # type: ignore[call-arg]

request = amplitude.GetProfile("u")
request.user_id = "v"  # type: ignore[misc]


async def use(client: ProfileClient) -> None:
    await client.send("user-1")  # type: ignore[call-overload]
    client.stream(["user-1"])  # type: ignore[arg-type]
    profile = await client.send(request)
    profile.plan  # type: ignore[attr-defined]  # noqa: B018
